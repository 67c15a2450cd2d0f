"""Did raters know which arm they heard? James' index over all guesses and Bang's index for each arm.

James: 1 is perfect blinding (or nobody dared to guess), 0.5 guessing at random, 0 everybody right. Bang: 0 is
guessing at random, 1 everybody right, -1 everybody wrong; it shows one arm unmasked where James' average hides it.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from analysis.estimates import Estimate, Floats, Undefined, codes
from analysis.paired import mean_estimate
from analysis.resample import percentile_interval
from analysis.shares import tango

DRAWS = 2_000
Guess = Literal["a", "b", "unknown"]
WEIGHTS = np.array([[0.0, 0.5], [0.5, 0.0], [1.0, 1.0]])  # James 1996: right, wrong, don't know


class Guesses(NamedTuple):
    """[n] guesses after rating."""

    guesses: Sequence[Guess]
    arms: Sequence[Literal["a", "b"]]
    raters: Sequence[str]


class Blinding(msgspec.Struct, frozen=True):
    james: Estimate | Undefined
    bang_a: Estimate | None  # None: nobody guessed about this arm
    bang_b: Estimate | None
    unknown: float  # share of "don't know"


def blinding(made: Guesses, seed: int = 0) -> Blinding | Undefined:
    """Both indices with intervals over raters (James et al. 1996; Bang et al. 2004)."""
    if len(made.guesses) == 0:
        return Undefined("no guesses")
    row = {"a": 0, "b": 1, "unknown": 2}
    cell = np.array([2 * row[guess] + row[arm] for guess, arm in zip(made.guesses, made.arms, strict=True)])
    tables = np.zeros((len(set(made.raters)), 6))
    np.add.at(tables, (codes(made.raters), cell), 1)
    unknown = float(tables[:, 4:].sum() / tables.sum())
    return Blinding(_james(tables, seed), _bang(made, "a", seed), _bang(made, "b", seed), unknown)


def _bang(made: Guesses, arm: str, seed: int) -> Estimate | None:
    """The share right less the share wrong. With one guess per rater it is a difference of paired shares and has
    Tango's interval: so few values lie on a coarse grid, and resampled ends that fall on it are too wide."""
    rows = [i for i, given in enumerate(made.arms) if given == arm]
    score = np.array([0.0 if made.guesses[i] == "unknown" else 1.0 if made.guesses[i] == arm else -1.0 for i in rows])
    raters, n = [made.raters[i] for i in rows], len(rows)
    if n < 2 or len(set(raters)) < n:
        return mean_estimate(score, raters, False, seed)
    interval = tango(int(np.count_nonzero(score > 0)), int(np.count_nonzero(score < 0)), n)
    return Estimate(float(score.mean()), interval.low, interval.high, n, n)


def _james(tables: Floats, seed: int) -> Estimate | Undefined:
    n, k = int(tables.sum()), len(tables)
    one = float(_index(tables.sum(axis=0, keepdims=True))[0])
    if not np.isfinite(one):
        return Undefined("only one arm was guessed about, so there is nothing to tell apart")
    if k < 2:
        return Estimate(one, None, None, n, k, "a single rater has no interval")
    distinct, often = np.unique(tables, axis=0, return_counts=True)
    draws = _index(np.random.default_rng(seed).multinomial(k, often / k, size=DRAWS) @ distinct)
    draws = np.sort(draws[np.isfinite(draws)])
    if len(draws) < 0.95 * DRAWS or draws[-1] - draws[0] < 1e-12:
        return Estimate(one, None, None, n, k, "raters' guesses do not vary: no spread to measure")
    interval = percentile_interval(draws, k)
    return Estimate(one, interval.low, interval.high, n, k)


def _index(tables: Floats) -> Floats:
    """[draws] James' index of flattened [guess, arm] tables; not finite where chance cannot be wrong. 1 where nobody
    guessed."""
    shares = tables.reshape(-1, 3, 2) / tables.sum(axis=1)[:, None, None]
    unknown = shares[:, 2].sum(axis=1)
    guessed = shares[:, :2]
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.einsum("dij,ij->d", guessed, WEIGHTS[:2]) / (1 - unknown)
        expected = np.einsum("di,dj,ij->d", guessed.sum(axis=2), guessed.sum(axis=1), WEIGHTS[:2]) / (1 - unknown) ** 2
        index = (1 + unknown + (1 - unknown) * (observed - expected) / expected) / 2
    return np.where(unknown >= 1, 1.0, index)

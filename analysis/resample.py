"""Bootstrap and sign-flip distributions of a mean over clusters, without the work that their sums make needless.

A bootstrap mean of k clusters of one size is a sum of k independent draws, so its distribution follows from its
characteristic function: a few milliseconds where 10,000 x 10,000 draws take seconds, and without their noise.
That holds where the characteristic function dies out; for few clusters, for up to 5,000 clusters of unequal size (a
ratio of two sums), and beside one giant value, clusters are drawn. Values with few distinct levels are drawn by level.
This module knows no metric and gives no verdict.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import t as student

from analysis.estimates import LEVEL, Floats, Interval, Ints, codes

DRAWS = 10_000
ATOMS = 64  # distinct values up to which draws are made by level
SMOOTH = 500  # clusters from which on the characteristic function may be used ...
LINEAR = 5_000  # ... also for a ratio of sums, which is then as good as linear in them
ENUMERATED = 14  # clusters up to which all sign flips are made
BLOCK = 2_000_000  # numbers held in memory at once


class Grouped(NamedTuple):
    """[k] sums and sizes of the clusters of n values."""

    sums: Floats
    sizes: Floats

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def influence(self) -> Floats:
        """[k] how far each cluster pulls the mean, times k; they sum to 0."""
        return np.asarray((self.sums - self.mean * self.sizes) / self.sizes.mean())


def group(values: Floats, clusters: Sequence[str]) -> Grouped:
    index = codes(clusters)
    return Grouped(
        np.asarray(np.bincount(index, weights=values), dtype=np.float64), np.bincount(index).astype(np.float64)
    )


def standard_error(grouped: Grouped) -> float:
    """Clustered standard error of the mean with the k / (k - 1) correction (Miller 2024, 2411.00640). Needs k >= 2."""
    k = len(grouped.sums)
    return float(np.sqrt(np.square(grouped.influence).sum() / (k * (k - 1))))


def bootstrap(grouped: Grouped, seed: int) -> Floats:
    """[DRAWS] sorted means over clusters drawn with replacement (a drawn cluster brings all its items)."""
    rng = np.random.default_rng(seed)
    sums, sizes = grouped
    k = len(sums)
    pairs, counts = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    if len(pairs) <= min(ATOMS, k / 8):  # a multinomial costs about as much per level as eight draws
        drawn = rng.multinomial(k, counts / k, size=DRAWS) @ pairs
        return np.sort(drawn[:, 0] / drawn[:, 1])
    if k >= (SMOOTH if np.ptp(sizes) == 0 else LINEAR):
        smooth = _smooth_draws(grouped.mean + grouped.influence, rng)
        if smooth is not None:
            return smooth
    made, alike = [], bool(np.ptp(sizes) == 0)
    step = max(1, BLOCK // k)
    for start in range(0, DRAWS, step):
        index = rng.integers(0, k, size=(min(step, DRAWS - start), k), dtype=np.int32)
        made.append(sums[index].sum(axis=1) / (k * sizes[0] if alike else sizes[index].sum(axis=1)))
    return np.sort(np.concatenate(made))


def _smooth_draws(values: Floats, rng: np.random.Generator) -> Floats | None:
    """Sorted draws of the mean of len(values) draws; None if their distribution is not smooth enough."""
    mean, k = values.mean(), len(values)
    scale = values.std() / np.sqrt(k)
    found = _distribution(_empirical_cf((values - mean) / (scale * k)) ** k)
    if found is None:
        return None
    grid, cdf = found
    return np.asarray(mean + scale * np.interp(np.sort(rng.random(DRAWS)), cdf, grid))


STEP = 2 * np.pi / 24  # of frequency: a period of 24 standard deviations
FREQUENCIES = (np.arange(34) + 0.5) * STEP  # up to 8.8, where a normal's characteristic function is 1e-17


def _empirical_cf(values: Floats) -> np.ndarray:
    """[frequencies] mean of exp(i t x) over the values."""
    total = np.zeros(len(FREQUENCIES), dtype=np.complex128)
    step = BLOCK // len(FREQUENCIES)
    for start in range(0, len(values), step):
        first = np.exp(1j * FREQUENCIES[0] * values[start : start + step])
        turn, at = first * first, first
        for i in range(len(FREQUENCIES)):
            total[i] += at.sum()
            at = at * turn
    return total / len(values)


def _distribution(cf: np.ndarray) -> tuple[Floats, Floats] | None:
    """Grid and CDF of a standardised variable by Gil-Pelaez's inversion; None where `cf` does not die out."""
    if np.abs(cf[-6:]).max() > 1e-9:
        return None
    grid = np.linspace(-9, 9, 1801)
    wave = np.exp(-1j * np.outer(grid, FREQUENCIES)) * (cf / FREQUENCIES)
    cdf = np.clip(0.5 - wave.imag.sum(axis=1) * STEP / np.pi, 0, 1)
    return grid, np.maximum.accumulate(cdf)


def percentile_interval(draws: Floats, k: int, bias: float = 0.0, acceleration: float = 0.0) -> Interval:
    """Interval from sorted draws: BCa (Efron 1987), its normal quantile widened to Student's t and by k / (k - 1),
    because a bootstrap of k clusters is too narrow by that (Hesterberg 2015, section 5.3)."""
    z = float(student.ppf((1 + LEVEL) / 2, k - 1)) * np.sqrt(k / (k - 1))
    ends = np.array([bias - z, bias + z])
    levels = ndtr(bias + ends / np.maximum(1 - acceleration * ends, 0.1))
    low, high = np.quantile(draws, levels)
    return Interval(float(low), float(high))


def bca(grouped: Grouped, seed: int) -> Interval:
    """Bias-corrected and accelerated bootstrap interval of the mean. Needs k >= 2."""
    draws, mean = bootstrap(grouped, seed), grouped.mean
    below = (np.searchsorted(draws, mean, "left") + np.searchsorted(draws, mean, "right")) / (2 * len(draws))
    influence = grouped.influence
    cubes, squares = np.power(influence, 3).sum(), np.square(influence).sum()
    acceleration = float(cubes / (6 * squares**1.5)) if squares > 0 else 0.0
    bias = float(ndtri(np.clip(below, 0.001, 0.999)))
    return percentile_interval(draws, len(grouped.sums), bias, acceleration)


def sign_flip(differences: Floats, clusters: Sequence[str], seed: int) -> float:
    """Two-sided permutation p: how often is the mean as large when each cluster's differences get a random sign.

    The observed arrangement counts as one of the permutations, so p is never 0.
    """
    sums = group(differences, clusters).sums
    sums = np.abs(sums[sums != 0])
    observed = abs(float(differences.sum()))
    if len(sums) == 0:
        return 1.0
    edge = observed - 1e-9 * float(sums.sum())
    if len(sums) <= ENUMERATED:
        flips = 1 - 2 * ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1)
        return float(np.mean(np.abs(flips @ sums) >= edge))
    if len(sums) >= SMOOTH and len(np.unique(sums)) > ATOMS:
        found = _flip_tail(sums, observed)
        if found is not None:
            return found
    beyond = np.count_nonzero(np.abs(_flipped(sums, np.random.default_rng(seed))) >= edge)
    return (int(beyond) + 1) / (DRAWS + 1)


def _flipped(sums: Floats, rng: np.random.Generator) -> Floats:
    """[DRAWS] sums with random signs; equal sums are flipped together, as a binomial count."""
    levels, counts = np.unique(sums, return_counts=True)
    if len(levels) <= min(ATOMS, len(sums) / 8):
        ups: Ints = rng.binomial(counts, 0.5, size=(DRAWS, len(levels)))
        return (2 * ups - counts) @ levels
    step = max(1, BLOCK // len(sums))
    return np.concatenate([
        (rng.integers(0, 2, size=(min(step, DRAWS - i), len(sums)), dtype=np.int8) * 2.0 - 1) @ sums
        for i in range(0, DRAWS, step)
    ])  # fmt: skip


def _flip_tail(sums: Floats, observed: float) -> float | None:
    """P(|sum of randomly signed sums| >= observed) from the product of cosines; None if it does not die out."""
    scale = float(np.sqrt(np.square(sums).sum()))
    cf = np.array([np.prod(np.cos(t * sums / scale)) for t in FREQUENCIES])
    found = _distribution(cf.astype(np.complex128))
    if found is None:
        return None
    grid, cdf = found
    return max(float(2 * np.interp(-observed / scale, grid, cdf)), 1 / (DRAWS + 1))

"""What ratings say, three ways that must agree: the mixed model, raters' own mean differences (no assumption but that
raters are independent), and the rule of Wu et al. 2025 (z per annotator, equal subsamples) as a sensitivity row.

The verdict is the rater-level one: it assumes least. Where the model says otherwise, `disagreement` says so.
"""

from typing import NamedTuple

import msgspec
import numpy as np

from analysis.estimates import LEVEL, Estimate, Floats, Undefined, Verdict, clusters_to_decide, codes, decide
from analysis.ordinal import OrdinalFit, Ratings, fit_ratings
from analysis.paired import Comparison, compare
from analysis.resample import bca, group

SEEDS = 10


class ByRater(NamedTuple):
    """[raters] means of the raters who rated both arms."""

    a: Floats
    b: Floats
    names: tuple[str, ...]
    superiority: Floats  # share of the rater's own pairs that B wins, ties half
    one_arm_only: int  # raters left out


class ZScored(msgspec.Struct, frozen=True):
    """Difference of arm means of ratings standardised per rater, over equal subsamples of the arms."""

    difference: float
    spread: float  # standard deviation over the subsamples' seeds
    per_arm: int
    without_spread: int  # raters who gave one rating throughout and have no z


class RatingsResult(msgspec.Struct, frozen=True):
    model: OrdinalFit | Undefined
    by_rater: Comparison | None  # of raters' means, in rating points; None if no rater rated both arms
    effect_size: float | None  # d_z: mean difference over its standard deviation between raters
    cliffs_delta: Estimate | None  # within raters, cluster bootstrap
    z_scored: ZScored | Undefined
    verdict: Verdict
    raters_to_decide: int | None
    disagreement: str | None
    one_arm_only: int


def analyse_ratings(ratings: Ratings, margin: float, seed: int = 0, slope: bool = True) -> RatingsResult:
    """Everything a report says about one question's ratings; `margin` in rating points."""
    model = fit_ratings(ratings, slope)
    raters = by_rater(ratings)
    found = compare(raters.a, raters.b, raters.names, binary=False, seed=seed)
    undecided = found is not None and decide(found.difference, found.p, margin) == "undecided"
    return RatingsResult(
        model=model,
        by_rater=found,
        effect_size=_effect_size(raters),
        cliffs_delta=cliffs_delta(raters, seed),
        z_scored=z_scored(ratings, seed=seed),
        verdict="undecided" if found is None else decide(found.difference, found.p, margin),
        raters_to_decide=clusters_to_decide(found.difference, margin) if found is not None and undecided else None,
        disagreement=_disagreement(model, found),
        one_arm_only=raters.one_arm_only,
    )


def by_rater(ratings: Ratings) -> ByRater:
    """Each rater's mean per arm, for raters who rated both."""
    index = codes(ratings.raters)
    names = list(dict.fromkeys(ratings.raters))
    a, b, kept, wins = [], [], [], []
    order = np.argsort(index, kind="stable")
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    for rows in np.split(order, starts[1:]) if len(order) else []:
        answers, arms = ratings.answers[rows], ratings.arms[rows]
        of_a, of_b = answers[arms == 0], answers[arms == 1]
        if len(of_a) and len(of_b):
            a.append(of_a.mean())
            b.append(of_b.mean())
            wins.append((np.sign(of_b[:, None] - of_a) + 1).mean() / 2)
            kept.append(names[index[rows[0]]])
    return ByRater(np.array(a), np.array(b), tuple(kept), np.array(wins), len(names) - len(kept))


def cliffs_delta(raters: ByRater, seed: int) -> Estimate | None:
    """P(B above A) - P(B below A) within raters, each rater counted once; None without raters of both arms."""
    k = len(raters.names)
    if k == 0:
        return None
    values = 2 * raters.superiority - 1
    value = float(values.mean())
    if k < 2 or np.ptp(values) == 0:
        return Estimate(value, None, None, k, k, "one rater" if k < 2 else "every rater has the same delta")
    interval = bca(group(values, raters.names), seed)
    return Estimate(value, interval.low, interval.high, k, k)


def z_scored(ratings: Ratings, per_arm: int | None = None, seeds: int = SEEDS, seed: int = 0) -> ZScored | Undefined:
    """The rule of Wu et al. 2025: standardise within each rater, draw as many ratings of each arm (by default the
    smaller arm's number), take the difference of means; averaged over `seeds` draws."""
    index = codes(ratings.raters)
    if len(index) == 0:
        return Undefined("no ratings")
    counts = np.bincount(index)
    mean = np.bincount(index, ratings.answers) / counts
    centred = ratings.answers - mean[index]
    spread = np.sqrt(np.bincount(index, centred**2) / counts)
    varies = spread > 0
    use = varies[index]
    z = np.where(use, centred / np.where(use, spread[index], 1.0), 0.0)
    arms = [z[use & (ratings.arms == arm)] for arm in (0, 1)]
    size = min(len(arms[0]), len(arms[1]))
    if size == 0:
        return Undefined("no rater whose ratings vary rated both arms")
    size = size if per_arm is None else min(per_arm, size)
    rng = np.random.default_rng(seed)
    drawn = [
        float(rng.choice(arms[1], size, replace=False).mean() - rng.choice(arms[0], size, replace=False).mean())
        for _ in range(seeds)
    ]
    return ZScored(float(np.mean(drawn)), float(np.std(drawn)), size, int(np.count_nonzero(~varies)))


def _effect_size(raters: ByRater) -> float | None:
    differences = raters.b - raters.a
    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    return float(differences.mean() / differences.std(ddof=1))


def _disagreement(model: OrdinalFit | Undefined, found: Comparison | None) -> str | None:
    """A sentence where the model and the raters' means do not say the same; None where they do or one is missing."""
    if isinstance(model, Undefined) or found is None:
        return None
    alpha, value = 1 - LEVEL, found.difference.value
    sure = (model.p < alpha, found.p < alpha)
    if sure == (True, True) and model.effect.value * value < 0:
        return "the mixed model and the raters' own differences point in opposite directions"
    if sure[0] != sure[1]:
        return (
            f"the mixed model (p = {model.p:.3f}) and the raters' own differences (p = {found.p:.3f}) "
            "fall on different sides of 5 %: do not rest a claim on either alone"
        )
    return None

"""The same ratings read in other ways: does the answer hang on how they were analysed?

One row decides (`analysis.ratings`); the others show what excluding raters, keeping raters of one arm, adjusting for
scenario and duration, or the rule of a published study would have said. No row is chosen after the fact: all are shown.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from scipy.stats import t as student

from analysis.estimates import LEVEL, Estimate, Floats, Ints, Undefined
from analysis.ordinal import MOST_LEVELS, Ratings
from analysis.paired import compare
from analysis.ratings import ByRater, RatingsResult
from analysis.resample import group


class Variant(msgspec.Struct, frozen=True):
    """One way to analyse; `estimate` is None where it cannot be made, for the reason `why`."""

    name: str
    unit: str
    estimate: Estimate | None
    p: float | None
    why: str | None = None


class Situation(msgspec.Struct, frozen=True):
    """B minus A in one scenario at one planned duration, in rating points."""

    scenario: str
    duration: float | None  # s; None: not known
    difference: Estimate | None  # None: an arm has no rating here
    n_a: int
    n_b: int


def arm_difference(answers: Floats, arms: Ints, raters: Sequence[str]) -> Estimate | None:
    """Difference of the arms' means over all [n] ratings, linearised and clustered by rater, Student's t; raters need
    not have rated both arms. None where an arm has no rating."""
    of_b = arms == 1
    if not len(answers) or of_b.all() or not of_b.any():
        return None
    means = [float(answers[side].mean()) for side in (~of_b, of_b)]
    value, n, k = means[1] - means[0], len(answers), len(set(raters))
    pull = np.where(of_b, (answers - means[1]) / of_b.sum(), (means[0] - answers) / (~of_b).sum())
    sums = group(pull, raters).sums
    if k < 2:
        return Estimate(value, None, None, n, k, "one rater")
    half = float(student.ppf((1 + LEVEL) / 2, k - 1) * np.sqrt(np.square(sums).sum() * k / (k - 1)))
    if half <= 1e-12:
        return Estimate(value, None, None, n, k, "every rating of an arm is the same: no spread to measure")
    return Estimate(value, value - half, value + half, n, k)


def situations(given: Ratings) -> tuple[Situation, ...]:
    """Every scenario at every duration that was rated; none where neither varies or there are too many to show."""
    n = len(given.answers)
    scenarios = np.array(given.scenarios or ("",) * n)
    durations = np.array(given.durations or (-1.0,) * n)
    names, lengths = sorted(set(scenarios.tolist())), sorted(set(durations.tolist()))
    if max(len(names), len(lengths)) < 2 or max(len(names), len(lengths)) > MOST_LEVELS:
        return ()
    found = []
    for name in names:
        for length in lengths:
            rows = np.flatnonzero((scenarios == name) & (durations == length))
            if len(rows):
                arms = given.arms[rows]
                made = arm_difference(
                    given.answers[rows].astype(np.float64), arms, [given.raters[i] for i in rows.tolist()]
                )
                of_b = int(arms.sum())
                found.append(Situation(name, None if length < 0 else length, made, len(rows) - of_b, of_b))
    return tuple(found)


def variants(given: Ratings, raters: ByRater, result: RatingsResult, seed: int = 0) -> tuple[Variant, ...]:
    """The deciding row first."""
    main = result.by_rater
    return (
        Variant("raters' own mean differences (decides)", "points", main.difference if main else None,
                main.p if main else None,
                None if main else "no rater rated both arms"),
        _varying(given, raters, seed),
        Variant("every rating, also of raters of one arm", "points",
                arm_difference(given.answers.astype(np.float64), given.arms, given.raters), None),
        *_modelled(result),
        _z(result),
    )  # fmt: skip


def _varying(given: Ratings, raters: ByRater, seed: int) -> Variant:
    """Without raters who gave one answer throughout."""
    name = "without raters who gave one answer throughout"
    seen: dict[str, set[int]] = {}
    for rater, answer in zip(given.raters, given.answers.tolist(), strict=True):
        seen.setdefault(rater, set()).add(answer)
    keep = np.array([len(seen[rater]) > 1 for rater in raters.names], dtype=bool)
    left = int(len(keep) - keep.sum())
    if not left:
        return Variant(name, "points", None, None, "nobody gave one answer throughout")
    kept = [rater for rater, use in zip(raters.names, keep, strict=True) if use]
    found = compare(raters.a[keep], raters.b[keep], kept, binary=False, seed=seed)
    if found is None:
        return Variant(name, "points", None, None, "no rater is left")
    return Variant(f"{name} ({left})", "points", found.difference, found.p)


def _modelled(result: RatingsResult) -> tuple[Variant, ...]:
    name = "mixed model, adjusted for scenario and duration"
    if isinstance(result.model, Undefined):
        return (Variant(name, "points", None, None, result.model.why),)
    model = result.model
    return (
        Variant(name, "points", model.predicted.mean_shift, model.p),
        Variant("the same as an odds ratio", "odds", model.odds_ratio, model.p),
    )


def _z(result: RatingsResult) -> Variant:
    """The rule of Wu et al. 2025; its spread over subsamples is not an interval and is named in the row."""
    z = result.z_scored
    if isinstance(z, Undefined):
        return Variant("z per annotator", "z", None, None, z.why)
    why = f"spread {z.spread:.2f} over subsamples is no interval"
    name = f"z per annotator, equal subsamples of {z.per_arm} (a published rule)"
    return Variant(name, "z", Estimate(z.difference, None, None, 2 * z.per_arm, 2 * z.per_arm, why), None)

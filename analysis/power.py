"""How large a study must be, and what a study of a given size could have found at all.

Ratings are simulated from the model they will be analysed with (`analysis.ordinal`: thresholds, raters who differ in
level and in how they take the difference) and tested on rater means, which takes microseconds where a model fit
takes a tenth of a second and finds a few per cent more: the plan is on the safe side. Pilot variances come from a
fitted pilot.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import binom
from scipy.stats import t as student

from analysis.estimates import LEVEL, Estimate, Floats
from analysis.shares import wilson

POWER = 0.8
SIMULATIONS = 2_000
ROUNDING = 1e-12


def detectable(standard_error: float | None, clusters: int) -> float | None:
    """Difference that a two-sided 5 % test finds in 80 of 100 studies like this one; None without spread (what is
    left of equal numbers by rounding is none)."""
    if standard_error is None or standard_error <= ROUNDING or clusters < 2:
        return None
    return float((student.ppf((1 + LEVEL) / 2, clusters - 1) + student.ppf(POWER, clusters - 1)) * standard_error)


def detectable_share(n: int, discordant: float) -> float:
    """Smallest difference of two shares that n matched items show with 80 % power when a share `discordant` of them
    comes out differently (normal approximation)."""
    found = detectable(float(np.sqrt(discordant / n)), n)
    assert found is not None
    return found


def mcnemar_power(n: int, gained: float, lost: float) -> float:
    """Exact power of exact McNemar on n items of which shares `gained` and `lost` change either way."""
    changed = np.arange(n + 1)
    critical = binom.ppf((1 - LEVEL) / 2, changed, 0.5)
    critical -= binom.cdf(critical, changed, 0.5) > (1 - LEVEL) / 2  # largest count that is rejected, or -1
    up = gained / (gained + lost) if gained + lost > 0 else 0.5
    rejected = binom.cdf(critical, changed, up) + binom.sf(changed - critical - 1, changed, up)
    return float(binom.pmf(changed, n, gained + lost) @ np.minimum(rejected, 1.0))


class RatingPlan(NamedTuple):
    """A study in which each rater rates `talks` talks of each arm. Effects and spreads are in logits."""

    raters: int
    talks: int
    effect: float
    rater_sd: float = 0.9
    slope_sd: float = 0.3
    shares: tuple[float, ...] = (0.08, 0.17, 0.35, 0.28, 0.12)  # of each category at an average rater, no effect
    durations: tuple[float, ...] = (0.0,)  # change of the effect at each duration; talks are spread over them


class PowerFound(NamedTuple):
    power: Estimate  # share of simulated studies that reject
    shift: float  # average difference in rating points


def thresholds(shares: tuple[float, ...]) -> Floats:
    """[categories - 1] cut points in logits that give these shares at a predictor of 0."""
    cumulative = np.cumsum(shares)[:-1] / np.sum(shares)
    return np.asarray(np.log(cumulative / (1 - cumulative)))


def simulate(plan: RatingPlan, studies: int, rng: np.random.Generator) -> Floats:
    """[studies, raters, talks, 2] ratings from 0, the last axis arm A, arm B."""
    level = rng.normal(0, 1, (studies, plan.raters, 1)) * plan.rater_sd
    slope = rng.normal(0, 1, (studies, plan.raters, 1)) * plan.slope_sd
    by_talk = np.array([plan.durations[i % len(plan.durations)] for i in range(plan.talks)])
    effect = plan.effect + by_talk + slope
    noise = rng.logistic(0, 1, (studies, plan.raters, plan.talks, 2))
    latent = noise + np.stack([level - effect / 2, level + effect / 2], axis=-1)
    return np.searchsorted(thresholds(plan.shares), latent).astype(np.float64)


def power(plan: RatingPlan, seed: int = 0, studies: int = SIMULATIONS) -> PowerFound:
    """Share of simulated studies in which the raters' mean differences are found to differ from 0 (t test)."""
    rng = np.random.default_rng(seed)
    step = max(1, 4_000_000 // (plan.raters * plan.talks * 2))
    rejected, shift = 0, 0.0
    for start in range(0, studies, step):
        made = simulate(plan, min(step, studies - start), rng).mean(axis=2)
        differences = made[..., 1] - made[..., 0]
        mean, error = differences.mean(axis=1), differences.std(axis=1, ddof=1) / np.sqrt(plan.raters)
        rejected += int(np.count_nonzero(np.abs(mean) > student.ppf((1 + LEVEL) / 2, plan.raters - 1) * error))
        shift += float(mean.sum())
    low, high = wilson(rejected, studies)
    return PowerFound(Estimate(rejected / studies, low, high, studies, studies), shift / studies)


def detectable_effect(plan: RatingPlan, seed: int = 0, studies: int = SIMULATIONS) -> float | None:
    """Effect in logits that such a study finds with 80 % power; None where no effect up to 5 logits is."""
    low, high = 0.0, 5.0
    if power(plan._replace(effect=high), seed, studies).power.value < POWER:
        return None
    while high - low > 0.01:
        middle = (low + high) / 2
        if power(plan._replace(effect=middle), seed, studies).power.value < POWER:
            low = middle
        else:
            high = middle
    return high


def expected_shift(plan: RatingPlan) -> float:
    """Difference in rating points that the effect means for an average rater, averaged over the durations."""
    effects = plan.effect + np.array(plan.durations)[:, None]
    cuts = thresholds(plan.shares)
    return float((expit(effects / 2 - cuts) - expit(-effects / 2 - cuts)).sum(axis=1).mean())

"""Simulated studies whose truth is known, of the sizes and with the clusters of real ones.

Truths that have no formula come from a simulation of two million ratings or votes.
"""

from functools import cache

import numpy as np
from scipy.special import expit

from analysis.blinding import Guesses
from analysis.estimates import Floats
from analysis.ordinal import Ratings
from analysis.power import RatingPlan, simulate
from analysis.preference import Votes

Random = np.random.Generator


def each(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def of_raters(raters: int, n: int) -> list[str]:
    """Names of raters with n answers each."""
    return [str(i) for i in range(raters) for _ in range(n)]


def skewed(rng: Random, clusters: int, size: int) -> tuple[Floats, list[str]]:
    """Skewed values around 0 whose clusters differ as much as the values within them."""
    level = np.repeat(rng.gamma(4.0, 0.5, clusters) - 2, size)
    return level + rng.gamma(4.0, 0.5, clusters * size) - 2, of_raters(clusters, size)


def shares(rng: Random, n: int = 300) -> tuple[int, int, int]:
    """Items right in both, in B alone, in A alone."""
    both, gained, lost, _ = rng.multinomial(n, [0.5, 0.1, 0.1, 0.3])
    return int(both), int(gained), int(lost)


def rated(rng: Random, plan: RatingPlan) -> Ratings:
    """A study as planned; the durations of the plan are those of the ratings where there are several."""
    answers = simulate(plan, 1, rng)[0].astype(np.int64)
    at = [float(i % len(plan.durations)) for i in range(plan.talks) for _ in range(2)] * plan.raters
    durations = at if len(plan.durations) > 1 else []
    return Ratings(answers.ravel(), np.tile([0, 1], plan.raters * plan.talks), of_raters(plan.raters, 2 * plan.talks),
                   durations=durations)  # fmt: skip


def voted(rng: Random, raters: int, votes: int = 5, effect: float = 0.0) -> Votes:
    """Raters with tastes of their own, an advantage of the talk heard first, ties; `effect` in logits for B."""
    n = raters * votes
    taste = np.repeat(rng.normal(effect, 1, raters), votes)
    b_first = rng.random(n) < 0.5
    latent = np.where(b_first, taste, -taste) + 0.3 + rng.logistic(size=n)
    results = np.where(np.abs(latent) < 0.4, 0, np.sign(latent)).astype(np.int64)
    first = np.where(b_first, "b", "a").tolist()
    return Votes(first, np.where(b_first, "a", "b").tolist(), results, of_raters(raters, votes))


def guessed(rng: Random, raters: int, right: float) -> Guesses:
    """Each rater guesses once about each arm: "unknown" in a third, else right in so many."""
    arms = ["a", "b"] * raters
    other = {"a": "b", "b": "a"}
    guesses = [
        "unknown" if dunno else arm if hit else other[arm]
        for arm, dunno, hit in zip(arms, rng.random(2 * raters) < 1 / 3, rng.random(2 * raters) < right, strict=True)
    ]
    return Guesses(guesses, arms, of_raters(raters, 2))  # type: ignore[arg-type]


@cache
def truth(plan: RatingPlan) -> tuple[float, float]:
    """Difference of mean ratings and Cliff's delta between a rater's own talks, from two million ratings."""
    made = simulate(plan._replace(raters=1_000_000, talks=1), 1, np.random.default_rng(1))[0, :, 0]
    differences = made[:, 1] - made[:, 0]
    return float(differences.mean()), float(np.sign(differences).mean())


@cache
def preferred_share(effect: float) -> float:
    """Share of votes for B, ties half, of two million votes in equal numbers of either order."""
    rng = np.random.default_rng(1)
    taste = rng.normal(effect, 1, 1_000_000)
    sides = []
    for turn in (1, -1):
        beyond, short = expit(turn * taste + 0.3 - 0.4), expit(turn * taste + 0.3 + 0.4)  # P(first), P(first or tie)
        first = (beyond + short) / 2
        sides.append(float((first if turn == 1 else 1 - first).mean()))
    return sum(sides) / 2

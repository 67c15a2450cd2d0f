"""Simulated studies whose answer is known: without an effect (how often is one found?), with a known truth (how often
does the interval hold it?), and looked at after every vote (how often is there ever an alarm?).

The studies are made in `benchmarks.made`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from analysis.agreement import Icc, Judgements, Weights, icc, kappa, krippendorff
from analysis.blinding import Blinding, blinding
from analysis.estimates import Estimate, Interval, Undefined
from analysis.multiplicity import Equivalence, Harm, noninferior, tost
from analysis.ordinal import OrdinalFit, fit_ratings
from analysis.paired import mean_estimate
from analysis.power import RatingPlan
from analysis.preference import Preference, Strengths, prefer, strengths
from analysis.ratings import by_rater, cliffs_delta
from analysis.resample import bca, group, sign_flip, standard_error
from analysis.sensitivity import arm_difference
from analysis.sequential import mean_e_values, mean_sequence, share_sequence, sign_e_values
from analysis.shares import mcnemar, newcombe, tango, wilson
from analysis.shift import hodges_lehmann
from benchmarks.made import Random, each, guessed, of_raters, preferred_share, rated, shares, skewed, truth, voted

Study = Callable[[Random], bool]
SIZES = (20, 40, 80)  # raters, or clusters
ALARM = np.log(20)


class Check(NamedTuple):
    what: str
    aim: str
    study: Study  # one study: did it reject, or cover?
    share: float = 1.0  # of the number of studies


def checks() -> list[Check]:
    return [*tests(), *tests_of_people(), *intervals(), *intervals_of_people(), *agreements(), *looks()]


def inside(interval: Estimate | Interval | Undefined | None, truth: float) -> bool:
    if interval is None or isinstance(interval, Undefined) or interval.low is None or interval.high is None:
        return False
    return interval.low <= truth <= interval.high


def tests() -> list[Check]:
    """Null studies of benchmarks: shares that are rejected."""

    def mean(k: int, rng: Random) -> bool:
        values, clusters = skewed(rng, k, 5)
        return sign_flip(values * rng.choice([-1.0, 1.0], k).repeat(5), clusters, int(rng.integers(1 << 30))) < 0.05

    def harmed(k: int, rng: Random) -> bool:
        values = rng.normal(0.2, 0.5, k)
        found = tost(float(values.mean()), standard_error(group(values, each(k))), k - 1, 0.2)
        return isinstance(found, Equivalence) and found.equivalent

    def harmless(k: int, rng: Random) -> bool:
        values = rng.normal(-0.2, 0.5, k)
        found = noninferior(float(values.mean()), standard_error(group(values, each(k))), k - 1, 0.2, True)
        return isinstance(found, Harm) and found.said == "none"

    return [
        Check("exact McNemar, 300 items, 20 % change", "5 %, at most", lambda r: mcnemar(*shares(r)[1:]) < 0.05),
        Check("mid-p McNemar, the same", "5 %", lambda r: mcnemar(*shares(r)[1:], mid=True) < 0.05),
        *(Check(f"sign flips, {k} clusters of 5", "5 %", partial(mean, k)) for k in SIZES),
        *(Check(f"no harm at its margin, {k} raters", "5 %", partial(harmless, k)) for k in SIZES),
        *(Check(f"equivalence at its margin, {k} raters", "5 %", partial(harmed, k)) for k in SIZES),
    ]


def tests_of_people() -> list[Check]:
    """Null studies with raters."""

    def preferred(k: int, rng: Random) -> bool:
        found = prefer(voted(rng, k), "a", "b", 0.05)
        return found is not None and found.p < 0.05

    def ranked(k: int, rng: Random) -> bool:
        found = strengths(voted(rng, k))
        return isinstance(found, Strengths) and found.between("a", "b")[1] < 0.05

    def model(plan: RatingPlan, slope: bool, rng: Random) -> bool:
        found = fit_ratings(rated(rng, plan), slope)
        return isinstance(found, OrdinalFit) and found.p < 0.05

    def interacts(plan: RatingPlan, rng: Random) -> bool:
        found = fit_ratings(rated(rng, plan))
        return isinstance(found, OrdinalFit) and found.interaction is not None and found.interaction.p < 0.05

    wide = RatingPlan(20, 6, 0.0, slope_sd=0.8)
    lasting = RatingPlan(20, 3, 0.5, durations=(0.0, 0.0, 0.0))
    return [
        *(Check(f"preference, {k} raters x 5 votes", "5 %", partial(preferred, k)) for k in SIZES),
        *(Check(f"Davidson, {k} raters x 5 votes", "5 %", partial(ranked, k)) for k in SIZES),
        *(Check(f"mixed model, {k} raters x 6 talks", "5 %", partial(model, RatingPlan(k, 3, 0.0), True))
          for k in SIZES),
        Check("mixed model, 20 raters, own effects 0.8", "5 %", partial(model, wide, True)),
        Check("the same without raters' own effects", "shows why", partial(model, wide, False)),
        *(Check(f"arm x 3 durations, {k} raters x 6 talks", "5 %", partial(interacts, lasting._replace(raters=k)))
          for k in SIZES),
    ]  # fmt: skip


def intervals() -> list[Check]:
    """Studies of a known truth in benchmarks: shares in which the interval covers it."""

    def resampled(k: int, rng: Random) -> bool:
        return inside(bca(group(*skewed(rng, k, 5)), int(rng.integers(1 << 30))), 0.0)

    def right(k: int, rng: Random) -> bool:
        """Takes of an item are right or wrong together more often than not; four in five are right."""
        item = rng.beta(1.6, 0.4, k).repeat(5)
        values = (rng.random(5 * k) < item).astype(np.float64)
        return inside(mean_estimate(values, of_raters(k, 5), True, int(rng.integers(1 << 30))), 0.8)

    def shift(rng: Random) -> bool:
        return inside(hodges_lehmann(rng.standard_t(3, 40)), 0.0)

    def share(rng: Random) -> bool:
        low, high = wilson(int(rng.binomial(300, 0.8)), 300)
        return low <= 0.8 <= high

    def newcombes(rng: Random) -> bool:
        both, gained, lost = shares(rng)
        return inside(newcombe(both, gained, lost, 300 - both - gained - lost), 0.0)

    return [
        Check("Wilson, 300 items at 80 %", "95 %", share),
        Check("Tango, 300 items, 20 % change", "95 %", lambda r: inside(tango(*shares(r)[1:], 300), 0.0)),
        Check("Newcombe, the same", "95 %", newcombes),
        *(Check(f"BCa, {k} skewed clusters of 5", "95 %", partial(resampled, k)) for k in SIZES),
        *(Check(f"share of 5 takes x {k} items", "95 %", partial(right, k)) for k in SIZES),
        Check("Hodges-Lehmann, 40 heavy-tailed", "95 %", shift),
    ]


def intervals_of_people() -> list[Check]:
    """Studies of a known truth with raters."""

    def modelled(plan: RatingPlan, read: Callable[[OrdinalFit], Estimate], at: float, rng: Random) -> bool:
        found = fit_ratings(rated(rng, plan))
        return isinstance(found, OrdinalFit) and inside(read(found), at)

    def own_delta(plan: RatingPlan, rng: Random) -> bool:
        return inside(cliffs_delta(by_rater(rated(rng, plan)), int(rng.integers(1 << 30))), truth(plan)[1])

    def every_rating(plan: RatingPlan, rng: Random) -> bool:
        made = rated(rng, plan)
        return inside(arm_difference(made.answers.astype(np.float64), made.arms, made.raters), truth(plan)[0])

    def preferred(k: int, read: Callable[[Preference], Estimate | None], rng: Random) -> bool:
        found = prefer(voted(rng, k, effect=0.5), "a", "b", 0.05, int(rng.integers(1 << 30)))
        return found is not None and inside(read(found), preferred_share(0.5))

    plans = [RatingPlan(k, 3, 0.6, slope_sd=0.5) for k in SIZES]
    middle = plans[1]
    return [
        *(Check(f"mixed model, {p.raters} raters x 6 talks, an effect", "95 %",
                partial(modelled, p, lambda f: f.effect, p.effect)) for p in plans),
        Check("its shift in points, 40 raters", "95 %",
              lambda r: modelled(middle, lambda f: f.predicted.mean_shift, truth(middle)[0], r)),
        Check("its Cliff's delta, 40 raters", "95 %",
              lambda r: modelled(middle, lambda f: f.predicted.cliffs_delta, truth(middle)[1], r)),
        *(Check(f"Cliff's delta, {p.raters} raters x 6 talks", "95 %", partial(own_delta, p)) for p in plans),
        *(Check(f"arms' means, {p.raters} raters x 6 talks", "95 %", partial(every_rating, p)) for p in plans),
        *(Check(f"share preferred, {k} raters x 5 votes", "95 %", partial(preferred, k, lambda f: f.half_ties))
          for k in SIZES),
        *(Check(f"the same balanced for order, {k} raters", "95 %", partial(preferred, k, lambda f: f.balanced))
          for k in SIZES),
    ]  # fmt: skip


def agreements() -> list[Check]:
    """Ratings whose intraclass correlation is one half (which is interval alpha's truth), and known confusions."""

    def alpha(rng: Random) -> bool:
        values = np.repeat(rng.normal(size=80), 4) + rng.normal(size=320)
        return inside(krippendorff(Judgements(of_raters(80, 4), each(320), values), "interval"), 0.5)

    def correlated(absolute: bool, rng: Random) -> bool:
        """80 talks x 4 raters with levels of their own: 1 / (1 + 0.25 + 0.75), or 1 / 1.75 if levels do not count."""
        values = np.repeat(rng.normal(size=80), 4) + rng.normal(0, 0.75**0.5, 320) + np.tile(rng.normal(0, 0.5, 4), 80)
        found = icc(Judgements(of_raters(80, 4), [str(i % 4) for i in range(320)], values))
        if not isinstance(found, Icc):
            return False
        return inside(found.absolute if absolute else found.consistent, 0.5 if absolute else 1 / 1.75)

    def judged(weights: Weights, at: float, rng: Random) -> bool:
        """A judge repeats the human's answer (0, 1, 2, evenly) in 70 of 100, otherwise says any of the three."""
        human = rng.integers(0, 3, 150)
        judge = np.where(rng.random(150) < 0.7, human, rng.integers(0, 3, 150))
        return inside(kappa(judge.tolist(), human.tolist(), weights, seed=int(rng.integers(1 << 30))), at)

    def unmasked(k: int, right: float, rng: Random) -> bool:
        found = blinding(guessed(rng, k, right), int(rng.integers(1 << 30)))
        return isinstance(found, Blinding) and inside(found.bang_a, 2 / 3 * (2 * right - 1))

    def blind(rng: Random) -> bool:
        """A third unknown, the rest at random: (1 + 1/3) / 2."""
        found = blinding(guessed(rng, 40, 0.5), int(rng.integers(1 << 30)))
        return isinstance(found, Blinding) and inside(found.james, 2 / 3)

    return [
        Check("interval alpha, 80 talks x 4 raters", "95 %", alpha),
        Check("ICC(A,1), the same with raters' levels", "95 %", partial(correlated, True)),
        Check("ICC(C,1), the same", "95 %", partial(correlated, False)),
        Check("kappa, 150 items", "95 %", partial(judged, "none", 0.7)),
        Check("kappa, quadratic weights, the same", "95 %", partial(judged, "quadratic", 0.7)),
        *(Check(f"Bang's index, {k} raters at random", "95 %", partial(unmasked, k, 0.5)) for k in SIZES),
        *(Check(f"Bang's index, {k} raters of 4 in 5 right", "95 %", partial(unmasked, k, 0.8)) for k in SIZES),
        Check("James' index, 40 raters at random", "95 %", blind),
    ]


def looks() -> list[Check]:
    """Null studies that are looked at after every vote, and stop at the first alarm."""

    def covered(rng: Random) -> bool:
        wins = np.cumsum(rng.random(200) < 0.6)
        return all(low <= 0.6 <= high for low, high in (share_sequence(int(w), n) for n, w in enumerate(wins, 1)))

    def mean_covered(rng: Random) -> bool:
        low, high = mean_sequence(rng.beta(4, 2, 200), 0, 1)
        return low <= 2 / 3 <= high

    def naive(rng: Random) -> bool:
        wins = np.cumsum(rng.random(300) < 0.5)
        return any(mcnemar(int(wins[n - 1]), n - int(wins[n - 1])) < 0.05 for n in range(20, 301, 20))

    return [
        Check("naive binomial test, 15 looks at 300 votes", "shows why", naive, 0.5),
        Check("e-value of signs, every look at 1,000 votes", "5 %, at most",
              lambda r: sign_e_values(r.choice([-1, 1], 1_000)).max() > ALARM),
        Check("e-value of a bounded mean, every look at 500", "5 %, at most",
              lambda r: mean_e_values(r.beta(0.5, 0.5, 500), 0, 1, 0.5).max() > ALARM),
        Check("confidence sequence of a share, all of 200 at once", "95 %, at least", covered, 0.25),
        Check("confidence sequence of a mean, all of 200 at once", "95 %, at least", mean_covered),
    ]  # fmt: skip

"""Are the statistics right as often as they say? Studies without an effect (rejected in 5 of 100) and with a known
truth (covered in 95 of 100), of the sizes and with the clusters of real ones; and how fast the slow parts are.

`python -m benchmarks.statistics [STUDIES [WORDS]]` prints the table alone, or its rows with these words; the mixed
model gets a quarter of the studies.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

from analysis.agreement import Judgements, krippendorff
from analysis.estimates import Estimate, Floats, Interval
from analysis.multiplicity import Equivalence, tost
from analysis.ordinal import OrdinalFit, Ratings, fit_ratings
from analysis.paired import compare
from analysis.power import RatingPlan, simulate
from analysis.preference import Strengths, Votes, prefer, strengths
from analysis.ratings import analyse_ratings
from analysis.resample import bca, group, sign_flip, standard_error
from analysis.sequential import mean_e_values, mean_sequence, share_sequence, sign_e_values
from analysis.shares import mcnemar, newcombe, tango, wilson
from analysis.shift import hodges_lehmann

COLUMNS = ["what, in which studies", "aim", "measured [95 % of the simulation]", "studies"]

Study = Callable[[np.random.Generator], bool]


class Check(NamedTuple):
    what: str
    aim: str
    study: Study  # one study: did it reject, or cover?
    share: float = 1.0  # of the number of studies


def each(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def skewed(rng: np.random.Generator, clusters: int, size: int) -> tuple[Floats, list[str]]:
    """Skewed values around 0 whose clusters differ as much as the values within them."""
    level = np.repeat(rng.gamma(4.0, 0.5, clusters) - 2, size)
    return level + rng.gamma(4.0, 0.5, clusters * size) - 2, [str(i // size) for i in range(clusters * size)]


def shares(rng: np.random.Generator, n: int = 300) -> tuple[int, int, int]:
    """Items right in both, in B alone, in A alone."""
    both, gained, lost, _ = rng.multinomial(n, [0.5, 0.1, 0.1, 0.3])
    return int(both), int(gained), int(lost)


def inside(interval: Estimate | Interval, truth: float) -> bool:
    return interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high


def rated(rng: np.random.Generator, plan: RatingPlan) -> Ratings:
    answers = simulate(plan, 1, rng)[0].astype(np.int64)
    raters = [str(i) for i in range(plan.raters) for _ in range(2 * plan.talks)]
    return Ratings(answers.ravel(), np.tile([0, 1], plan.raters * plan.talks), raters)


def voted(rng: np.random.Generator, raters: int, votes: int = 5) -> Votes:
    """Two equal arms, raters with tastes of their own, an advantage of the first, ties."""
    n = raters * votes
    taste = np.repeat(rng.normal(0, 1, raters), votes)
    b_first = rng.random(n) < 0.5
    latent = np.where(b_first, taste, -taste) + 0.3 + rng.logistic(size=n)
    results = np.where(np.abs(latent) < 0.4, 0, np.sign(latent)).astype(np.int64)
    first = np.where(b_first, "b", "a").tolist()
    return Votes(first, np.where(b_first, "a", "b").tolist(), results, [str(i // votes) for i in range(n)])


def tests() -> list[Check]:
    """Null studies: shares that are rejected."""

    def mean(k: int) -> Study:
        def study(rng: np.random.Generator) -> bool:
            values, clusters = skewed(rng, k, 5)
            return sign_flip(values * rng.choice([-1.0, 1.0], k).repeat(5), clusters, int(rng.integers(1 << 30))) < 0.05

        return study

    def preferred(k: int) -> Study:
        return lambda rng: (found := prefer(voted(rng, k), "a", "b", 0.05)) is not None and found.p < 0.05

    def ranked(rng: np.random.Generator) -> bool:
        found = strengths(voted(rng, 40))
        return isinstance(found, Strengths) and found.between("a", "b")[1] < 0.05

    def harmed(rng: np.random.Generator) -> bool:
        values = rng.normal(0.2, 0.5, 40)
        found = tost(float(values.mean()), standard_error(group(values, each(40))), 39, 0.2)
        return isinstance(found, Equivalence) and found.equivalent

    def model(plan: RatingPlan, slope: bool = True) -> Study:
        def study(rng: np.random.Generator) -> bool:
            found = fit_ratings(rated(rng, plan), slope)
            return isinstance(found, OrdinalFit) and found.p < 0.05

        return study

    wide = RatingPlan(20, 6, 0.0, slope_sd=0.8)
    return [
        Check("exact McNemar, 300 items, 20 % change", "5 %, at most", lambda r: mcnemar(*shares(r)[1:]) < 0.05),
        Check("mid-p McNemar, the same", "5 %", lambda r: mcnemar(*shares(r)[1:], mid=True) < 0.05),
        *(Check(f"sign flips, {k} clusters of 5", "5 %", mean(k)) for k in (20, 40, 80)),
        *(Check(f"preference, {k} raters x 5 votes", "5 %", preferred(k)) for k in (20, 40, 80)),
        Check("Davidson, 40 raters x 5 votes", "5 %", ranked),
        Check("equivalence at its margin, 40 raters", "5 %", harmed),
        *(Check(f"mixed model, {k} raters x 6 talks", "5 %", model(RatingPlan(k, 3, 0.0)), 0.25) for k in (20, 40)),
        Check("mixed model, 20 raters, own effects 0.8", "5 %", model(wide), 0.25),
        Check("the same without raters' own effects", "shows why", model(wide, slope=False), 0.25),
    ]


def intervals() -> list[Check]:
    """Studies of a known truth: shares in which the interval covers it."""

    def resampled(k: int) -> Study:
        return lambda rng: inside(bca(group(*skewed(rng, k, 5)), int(rng.integers(1 << 30))), 0.0)

    def shift(rng: np.random.Generator) -> bool:
        found = hodges_lehmann(rng.standard_t(3, 40))
        return found is not None and inside(found, 0.0)

    def share(rng: np.random.Generator) -> bool:
        low, high = wilson(int(rng.binomial(300, 0.8)), 300)
        return low <= 0.8 <= high

    def paired(rng: np.random.Generator) -> tuple[int, int, int]:
        return shares(rng)

    def newcombes(rng: np.random.Generator) -> bool:
        both, gained, lost = paired(rng)
        return inside(newcombe(both, gained, lost, 300 - both - gained - lost), 0.0)

    def alpha(rng: np.random.Generator) -> bool:
        """Ratings with intraclass correlation one half, which is interval alpha's truth."""
        values = np.repeat(rng.normal(size=80), 4) + rng.normal(size=320)
        found = krippendorff(Judgements([str(i // 4) for i in range(320)], each(320), values), "interval")
        return isinstance(found, Estimate) and inside(found, 0.5)

    def effect(rng: np.random.Generator) -> bool:
        found = fit_ratings(rated(rng, RatingPlan(40, 3, 0.6, slope_sd=0.5)))
        return isinstance(found, OrdinalFit) and inside(found.effect, 0.6)

    return [
        Check("Wilson, 300 items at 80 %", "95 %", share),
        Check("Tango, 300 items, 20 % change", "95 %", lambda r: inside(tango(*shares(r)[1:], 300), 0.0)),
        Check("Newcombe, the same", "95 %", newcombes),
        *(Check(f"BCa, {k} skewed clusters of 5", "95 %", resampled(k)) for k in (20, 40, 80)),
        Check("Hodges-Lehmann, 40 heavy-tailed", "95 %", shift),
        Check("interval alpha, 80 talks x 4 raters", "95 %", alpha),
        Check("mixed model, 40 raters x 6 talks, an effect", "95 %", effect, 0.25),
    ]


def looks() -> list[Check]:
    """Null studies that are looked at after every vote, and stop at the first alarm."""
    alarm = np.log(20)

    def covered(rng: np.random.Generator) -> bool:
        wins = np.cumsum(rng.random(200) < 0.6)
        return all(low <= 0.6 <= high for low, high in (share_sequence(int(w), n) for n, w in enumerate(wins, 1)))

    def mean_covered(rng: np.random.Generator) -> bool:
        low, high = mean_sequence(rng.beta(4, 2, 200), 0, 1)
        return low <= 2 / 3 <= high

    def naive(rng: np.random.Generator) -> bool:
        wins = np.cumsum(rng.random(300) < 0.5)
        return any(mcnemar(int(wins[n - 1]), n - int(wins[n - 1])) < 0.05 for n in range(20, 301, 20))

    return [
        Check("naive binomial test, 15 looks at 300 votes", "shows why", naive, 0.5),
        Check("e-value of signs, every look at 1,000 votes", "5 %, at most",
              lambda r: sign_e_values(r.choice([-1, 1], 1_000)).max() > alarm),
        Check("e-value of a bounded mean, every look at 500", "5 %, at most",
              lambda r: mean_e_values(r.beta(0.5, 0.5, 500), 0, 1, 0.5).max() > alarm),
        Check("confidence sequence of a share, all of 200 at once", "95 %, at least", covered, 0.25),
        Check("confidence sequence of a mean, all of 200 at once", "95 %, at least", mean_covered, 0.25),
    ]  # fmt: skip


def calibration(studies: int = 1_000, seed: int = 0, only: str = "") -> Iterator[list[str]]:
    """A row per check whose description holds `only`, each with random numbers of its own."""
    for i, check in enumerate([*tests(), *intervals(), *looks()]):
        if only not in check.what:
            continue
        rng, n = np.random.default_rng([seed, i]), max(20, int(studies * check.share))
        hits = sum(check.study(rng) for _ in range(n))
        low, high = wilson(hits, n)
        yield [check.what, check.aim, f"{100 * hits / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]", f"{n:,}"]


def speed() -> list[list[str]]:
    """Processor time of one core."""
    return [bootstrap_speed(), compare_speed(), model_speed(True), model_speed(False)]


def bootstrap_speed(n: int = 10_000) -> list[str]:
    rng = np.random.default_rng(0)
    differences = rng.gamma(2.0, 1.0, n) - rng.gamma(2.0, 1.0, n)
    names = each(n)
    started = time.process_time()
    for seed in range(20):
        bca(group(differences, names), seed)
    ours = (time.process_time() - started) / 20
    started = time.process_time()
    stats.bootstrap((differences,), np.mean, n_resamples=10_000, method="BCa", batch=100, rng=0)
    theirs = time.process_time() - started
    return [
        f"BCa, {n:,} paired items, against scipy.stats.bootstrap",
        f"{theirs / ours:.0f}x ({ours * 1e3:.0f} ms)",
        "20x",
    ]


def compare_speed(n: int = 1_000_000) -> list[str]:
    rng = np.random.default_rng(0)
    a = rng.gamma(2.0, 1.0, n)
    names = each(n)
    started = time.process_time()
    compare(a, a + rng.normal(0, 1, n), names, binary=False)
    return [f"a whole comparison of {n:,} items", f"{time.process_time() - started:.1f} s", "under 20 s"]


def model_speed(slope: bool) -> list[str]:
    made = rated(np.random.default_rng(0), RatingPlan(400, 6, 0.3))
    made = made._replace(scenarios=[f"s{i % 6}" for i in range(len(made.raters))])
    started = time.process_time()
    if slope:
        fit_ratings(made)
        what = "mixed model, 400 raters x 12 talks"
    else:
        analyse_ratings(made, 0.1, slope=False)
        what = "the same without raters' own effects, with everything beside it"
    return [what, f"{time.process_time() - started:.2f} s", "under 5 s"]


if __name__ == "__main__":
    given = sys.argv[1:]
    for row in calibration(int(given[0]) if given else 1_000, only=" ".join(given[1:])):
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(row, (52, 14, 26, 6), strict=True)), flush=True)
    for row in speed():
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(row, (66, 18, 12), strict=True)), flush=True)

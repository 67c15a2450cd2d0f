"""Is B different from A on the same items? Exact McNemar for shares, sign flips for figures, and intervals that
resample clusters, because two takes of one question are not two questions.

Every estimate comes with its interval, or with the reason why there is none: a single cluster has no interval,
not an interval of width zero. How clusters are resampled is in `analysis.resample`, shares are in `analysis.shares`.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import msgspec
import numpy as np

from analysis.estimates import LEVEL, ONE_CLUSTER, Estimate, Floats, Interval, Verdict, clusters_to_decide, decide
from analysis.power import detectable
from analysis.resample import Grouped, bca, bootstrap, group, sign_flip, standard_error
from analysis.shares import mcnemar, newcombe, tango, wilson
from analysis.shift import hodges_lehmann

__all__ = [
    "LEVEL", "Comparison", "Estimate", "Takes", "Verdict", "bootstrap_means", "clustered_error", "compare", "mcnemar",
    "mean_estimate", "n_to_decide", "sign_flip", "takes", "verdict", "wilson",
]  # fmt: skip

NO_SPREAD = "every cluster has the same figure: no spread to measure"


class Comparison(msgspec.Struct, frozen=True):
    """B against A on matched items. `p` is two-sided. `difference` holds the interval the verdict uses: Tango's for
    shares of items that are each their own cluster, the bootstrap's otherwise."""

    a: Estimate
    b: Estimate
    difference: Estimate
    p: float
    test: str
    gained: int  # items on which B is higher
    lost: int  # items on which B is lower
    standard_error: float | None = None  # of the difference, clustered
    detectable: float | None = None  # the difference that would be found in 80 of 100 such comparisons
    shift: Estimate | None = None  # Hodges-Lehmann, over cluster means; None for shares
    newcombe: Interval | None = None  # None unless a share of items that are each their own cluster
    resampled: Interval | None = None  # BCa bootstrap over clusters; None where nothing varies


class Takes(NamedTuple):
    """How much of a figure's variance is decoding's chance: takes of one item against items."""

    items: int
    takes: int
    between: float  # variance of items' true means; 0 if takes explain all
    within: float  # variance between takes of an item

    @property
    def consistency(self) -> float | None:
        """Correlation of two takes of an item; None if nothing varies."""
        total = self.between + self.within
        return self.between / total if total > 0 else None


def mean_estimate(values: Floats, clusters: Sequence[str], binary: bool, seed: int) -> Estimate | None:
    """Mean of [n] values with a BCa interval over clusters; None for no values.

    A share (`binary`: every value is 0 or 1) gets Wilson's interval if every item is its own cluster, because
    resampling n equal values cannot show their uncertainty.
    """
    n = len(values)
    if n == 0:
        return None
    if binary and len(set(clusters)) == n:
        low, high = wilson(int(values.sum()), n)
        return Estimate(float(values.mean()), low, high, n, n)
    return _resampled(group(values, clusters), n, seed)


def _resampled(grouped: Grouped, n: int, seed: int) -> Estimate:
    k, mean = len(grouped.sums), grouped.mean
    if k < 2:
        return Estimate(mean, None, None, n, k, ONE_CLUSTER)
    if flat(grouped):
        return Estimate(mean, None, None, n, k, NO_SPREAD)
    interval = bca(grouped, seed)
    return Estimate(mean, interval.low, interval.high, n, k)


def flat(grouped: Grouped) -> bool:
    """Do all clusters have the same mean?"""
    means = grouped.sums / grouped.sizes
    return bool(np.ptp(means) <= 1e-12 * np.abs(means).max())


def bootstrap_means(values: Floats, clusters: Sequence[str], seed: int) -> Floats:
    """[10,000] sorted means over clusters drawn with replacement (a drawn cluster brings all its items)."""
    return bootstrap(group(values, clusters), seed)


def compare(a: Floats, b: Floats, clusters: Sequence[str], binary: bool, seed: int = 0) -> Comparison | None:
    """Compare [n] matched values; None if there are none."""
    n = len(a)
    mean_a, mean_b = (mean_estimate(values, clusters, binary, seed) for values in (a, b))
    if mean_a is None or mean_b is None:
        return None
    differences = b - a
    grouped = group(differences, clusters)
    k = len(grouped.sums)
    gained, lost = int(np.count_nonzero(differences > 0)), int(np.count_nonzero(differences < 0))
    difference = _resampled(grouped, n, seed)
    resampled = None if difference.low is None or difference.high is None else Interval(difference.low, difference.high)
    error = standard_error(grouped) if k > 1 else None
    if binary and k == n > 1:
        score = tango(gained, lost, n)
        both, neither = int(np.count_nonzero(a + b == 2)), int(np.count_nonzero(a + b == 0))
        return Comparison(
            mean_a, mean_b, Estimate(difference.value, score.low, score.high, n, n), mcnemar(gained, lost),
            "exact McNemar", gained, lost, error, detectable(error, k), None,
            newcombe(both, gained, lost, neither), resampled,
        )  # fmt: skip
    p = sign_flip(differences, clusters, seed)
    return Comparison(
        mean_a, mean_b, difference, p, "sign-flip permutation over clusters", gained, lost, error,
        detectable(error, k), None if binary else hodges_lehmann(grouped.sums / grouped.sizes), None, resampled,
    )  # fmt: skip


def verdict(comparison: Comparison, higher_is_better: bool, margin: float) -> Verdict:
    """What the comparison ends in, see `decide`."""
    return decide(comparison.difference, comparison.p, margin, higher_is_better)


def n_to_decide(comparison: Comparison, margin: float) -> int | None:
    """About how many items would decide, with as many items per cluster as now."""
    d = comparison.difference
    clusters = clusters_to_decide(d, margin)
    return None if clusters is None else max(d.n + 1, -(-clusters * d.n // d.n_clusters))


def clustered_error(values: Floats, *clusterings: Sequence[str]) -> float | None:
    """Standard error of the mean of [n] values under one or several clusterings (voice, template, seed, rater) by
    inclusion and exclusion (Cameron, Gelbach and Miller 2011); None where a clustering has a single cluster.

    Where that sum of parts is not positive, the largest single-clustering error stands in.
    """
    single = [group(values, names) for names in clusterings]
    if not single or any(len(g.sums) < 2 for g in single):
        return None
    variance = 0.0
    for size in range(1, len(clusterings) + 1):
        for chosen in combinations(clusterings, size):
            crossed = ["\x1f".join(names) for names in zip(*chosen, strict=True)]
            variance -= (-1) ** size * standard_error(group(values, crossed)) ** 2
    return float(np.sqrt(variance)) if variance > 0 else max(standard_error(g) for g in single)


def takes(values: Floats, items: Sequence[str]) -> Takes | None:
    """Variance parts of [n] values by item (one-way ANOVA); None unless some item has two takes and there are two
    items."""
    grouped = group(values, items)
    k, n = len(grouped.sums), len(values)
    if k < 2 or n == k:
        return None
    inner = float(np.square(values).sum() - (grouped.sums**2 / grouped.sizes).sum()) / (n - k)
    outer = float((grouped.sums**2 / grouped.sizes).sum() - values.sum() ** 2 / n) / (k - 1)
    size = (n - float(np.square(grouped.sizes).sum()) / n) / (k - 1)
    return Takes(k, n, max(outer - inner, 0.0) / size, max(inner, 0.0))

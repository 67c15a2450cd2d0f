"""Is B different from A on the same items? Exact McNemar for shares, sign-flip permutation for figures, and a
bootstrap interval that resamples clusters, because two takes of one question are not two questions.

Every estimate comes with its interval, or with the reason why there is none: a single cluster has no interval,
not an interval of width zero.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

LEVEL = 0.95
DRAWS = 10_000
CHUNK = 1_000  # draws held in memory at once

Floats = npt.NDArray[np.float64]
Verdict = Literal["better", "worse", "equivalent", "undecided"]


class Estimate(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval; without one, `why` says the reason."""

    value: float
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    why: str | None = None


class Comparison(msgspec.Struct, frozen=True):
    """B against A on matched items. `p` is two-sided."""

    a: Estimate
    b: Estimate
    difference: Estimate
    p: float
    test: str
    gained: int  # items on which B is higher
    lost: int  # items on which B is lower


def mean_estimate(values: Floats, clusters: Sequence[str], binary: bool, seed: int) -> Estimate | None:
    """Mean of [n] values with a cluster bootstrap percentile interval; None for no values.

    A share (`binary`: every value is 0 or 1) gets Wilson's interval if every item is its own cluster, because
    resampling n equal values cannot show their uncertainty.
    """
    n = len(values)
    if n == 0:
        return None
    k = len(set(clusters))
    mean = float(values.mean())
    if binary and k == n:
        low, high = wilson(int(values.sum()), n)
        return Estimate(mean, low, high, n, k)
    if k < 2:
        return Estimate(mean, None, None, n, k, "a single cluster has no interval")
    draws = bootstrap_means(values, clusters, seed)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(mean, float(low), float(high), n, k)


def bootstrap_means(values: Floats, clusters: Sequence[str], seed: int) -> Floats:
    """[DRAWS] means over clusters drawn with replacement (a drawn cluster brings all its items)."""
    rng = np.random.default_rng(seed)
    _, index = np.unique(np.array(clusters), return_inverse=True)
    sums = np.bincount(index, weights=values)
    sizes = np.bincount(index).astype(np.float64)
    k = len(sums)
    out = []
    for _ in range(DRAWS // CHUNK):
        counts = rng.multinomial(k, np.full(k, 1 / k), size=CHUNK)
        out.append((counts @ sums) / (counts @ sizes))
    return np.concatenate(out)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's score interval for a share."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence_level=LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar: are the items that changed as likely to have changed either way? 1 if none changed."""
    from scipy.stats import binomtest

    return 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost).pvalue)


def sign_flip(differences: Floats, clusters: Sequence[str], seed: int) -> float:
    """Two-sided permutation p: how often is the mean as large when each cluster's differences get a random sign.

    The observed arrangement counts as one of the permutations, so p is never 0.
    """
    rng = np.random.default_rng(seed)
    _, index = np.unique(np.array(clusters), return_inverse=True)
    sums = np.bincount(index, weights=differences)
    observed = abs(sums.sum())
    beyond = 0
    for _ in range(DRAWS // CHUNK):
        signs = rng.integers(0, 2, size=(CHUNK, len(sums))) * 2 - 1
        beyond += int(np.count_nonzero(np.abs(signs @ sums) >= observed - 1e-12))
    return (beyond + 1) / (DRAWS + 1)


def compare(a: Floats, b: Floats, clusters: Sequence[str], binary: bool, seed: int = 0) -> Comparison | None:
    """Compare [n] matched values; None if there are none."""
    differences = b - a
    difference = _difference(differences, clusters, seed)
    mean_a, mean_b = (mean_estimate(values, clusters, binary, seed) for values in (a, b))
    if difference is None or mean_a is None or mean_b is None:
        return None
    gained, lost = int(np.count_nonzero(differences > 0)), int(np.count_nonzero(differences < 0))
    if binary and difference.n_clusters == difference.n:
        return Comparison(mean_a, mean_b, difference, mcnemar(gained, lost), "exact McNemar", gained, lost)
    p = sign_flip(differences, clusters, seed)
    return Comparison(mean_a, mean_b, difference, p, "sign-flip permutation over clusters", gained, lost)


def _difference(differences: Floats, clusters: Sequence[str], seed: int) -> Estimate | None:
    n, k = len(differences), len(set(clusters))
    if n == 0:
        return None
    mean = float(differences.mean())
    if k < 2:
        return Estimate(mean, None, None, n, k, "a single cluster has no interval")
    low, high = np.quantile(bootstrap_means(differences, clusters, seed), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(mean, float(low), float(high), n, k)


def verdict(comparison: Comparison, higher_is_better: bool, margin: float) -> Verdict:
    """equivalent: the interval lies inside the margin, so whatever difference there is does not matter. better or
    worse: the interval and the test both exclude no difference. Everything else is undecided."""
    low, high = comparison.difference.low, comparison.difference.high
    if low is None or high is None:
        return "undecided"
    if -margin < low and high < margin:
        return "equivalent"
    if comparison.p < 1 - LEVEL and (low > 0 or high < 0):
        return "better" if (low > 0) == higher_is_better else "worse"
    return "undecided"


def n_to_decide(comparison: Comparison, margin: float) -> int | None:
    """About how many items would decide, if the spread stays as it is: enough to tell the observed difference from
    none, or, where that is smaller than the margin, to fit the interval into the margin."""
    d = comparison.difference
    if d.low is None or d.high is None:
        return None
    target = max(abs(d.value), margin - abs(d.value))
    half = (d.high - d.low) / 2
    return max(d.n + 1, int(np.ceil(d.n * (half / target) ** 2 - 1e-9))) if half > 0 and target > 0 else None

"""Shares and differences of shares: Wilson's interval, exact McNemar, Newcombe's and Tango's paired intervals.

For items that are each their own cluster; where items share a cluster, `analysis.paired` resamples clusters instead.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import binom, binomtest

from analysis.estimates import LEVEL, Interval

Z = float(ndtri((1 + LEVEL) / 2))


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's score interval for a share."""
    interval = binomtest(successes, n).proportion_ci(confidence_level=LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(gained: int, lost: int, mid: bool = False) -> float:
    """Exact two-sided McNemar: are the items that changed as likely to have changed either way? 1 if none changed.

    `mid` counts the observed table half (mid-p): closer to its level where few items changed, not guaranteed.
    """
    n = gained + lost
    if n == 0:
        return 1.0
    k = min(gained, lost)
    p = 2 * float(binom.cdf(k, n, 0.5)) - (float(binom.pmf(k, n, 0.5)) if mid else 0.0)
    return min(p, 1.0)


def newcombe(both: int, gained: int, lost: int, neither: int) -> Interval:
    """Interval of share B minus share A from the four counts of matched items (right in both, only in B, only in A,
    in neither): Newcombe 1998, method 10, Wilson intervals with the correlation of the pairs."""
    n = both + gained + lost + neither
    a, b = (both + lost) / n, (both + gained) / n
    (low_a, high_a), (low_b, high_b) = wilson(both + lost, n), wilson(both + gained, n)
    product = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    excess = both * neither - gained * lost
    corrected = max(excess - n / 2, 0) if excess > 0 else excess
    phi = corrected / np.sqrt(product) if product else 0.0

    def half(up: float, down: float) -> float:
        return float(np.sqrt(max(up**2 - 2 * phi * up * down + down**2, 0)))

    return Interval(b - a - half(b - low_b, high_a - a), b - a + half(high_b - b, a - low_a))


def tango(gained: int, lost: int, n: int) -> Interval:
    """Score interval of share B minus share A (Tango 1998): the differences that a score test does not reject."""
    observed = (gained - lost) / n

    def score(difference: float) -> float:
        """Score statistic of a hypothetical difference; the share of lost items is its restricted maximum."""
        b = -gained - lost + (2 * n - gained + lost) * difference
        c = -lost * difference * (1 - difference)
        down = (np.sqrt(max(b * b - 8 * n * c, 0)) - b) / (4 * n)
        variance = n * (2 * down + difference * (1 - difference))
        return float((gained - lost - n * difference) / np.sqrt(variance)) if variance > 0 else 0.0

    edge = 1 - 1e-12
    low = -1.0 if score(-edge) < Z else float(brentq(lambda d: score(d) - Z, -edge, observed, xtol=1e-12))
    high = 1.0 if score(edge) > -Z else float(brentq(lambda d: score(d) + Z, observed, edge, xtol=1e-12))
    return Interval(low, high)

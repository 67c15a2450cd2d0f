"""Hodges and Lehmann's shift: the median of all pairwise means, with the interval that Wilcoxon's signed-rank test
does not reject. Never builds the n (n + 1) / 2 pairs: they are counted in a sorted list."""

import numpy as np
from scipy.stats import norm

from analysis.estimates import LEVEL, Estimate, Floats

EXACT = 60  # values up to which the signed-rank distribution is counted out


def hodges_lehmann(differences: Floats) -> Estimate | None:
    """Shift of [n] independent differences (cluster means where items share a cluster); None for no values."""
    n = len(differences)
    if n == 0:
        return None
    x = np.sort(differences)
    pairs = n * (n + 1) // 2
    middle = (pairs + 1) // 2
    value = (_pair_mean(x, middle) + _pair_mean(x, pairs + 1 - middle)) / 2
    if n < 6:
        return Estimate(value, None, None, n, n, "fewer than 6 values have no 95 % signed-rank interval")
    if x[0] == x[-1]:
        return Estimate(value, None, None, n, n, "all differences are equal: no spread to measure")
    k = _rank(n)
    return Estimate(value, _pair_mean(x, k), _pair_mean(x, pairs + 1 - k), n, n)


def _rank(n: int) -> int:
    """Rank of the pairwise mean at which the interval starts."""
    tail = (1 - LEVEL) / 2
    if n <= EXACT:
        ways = np.ones(1)
        for i in range(1, n + 1):
            longer = np.zeros(len(ways) + i)
            longer[: len(ways)] += ways
            longer[i:] += ways
            ways = longer / 2
        return int(np.searchsorted(np.cumsum(ways), tail, side="right"))
    spread = np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return int(np.floor(n * (n + 1) / 4 + norm.ppf(tail) * spread))


def _pair_mean(x: Floats, rank: int) -> float:
    """The `rank`-th smallest mean of two (also equal) of the sorted values, by bisection on its value."""
    low, high = float(x[0]), float(x[-1])
    index = np.arange(len(x))

    def at_most(value: float) -> int:
        partners = np.searchsorted(x, 2 * value - x, side="right") - index
        return int(partners[partners > 0].sum())

    if at_most(low) >= rank:
        return low
    close = 1e-11 * (high - low)
    while high - low > close:
        middle = (low + high) / 2
        if middle in (low, high):  # neighbours among floats
            break
        low, high = (low, middle) if at_most(middle) >= rank else (middle, high)
    return high

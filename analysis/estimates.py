"""What every statement is made of: a figure with its interval, a test, a verdict, or the reason why there is none.

An unknown is never a number: an estimate without interval says why, and an analysis that cannot be made at all
returns `Undefined` instead of raising, because a report goes on to its next claim. This module computes nothing
but the verdict.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

LEVEL = 0.95
ONE_CLUSTER = "a single cluster has no interval"

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Verdict = Literal["better", "worse", "equivalent", "undecided"]


class Estimate(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval; without one, `why` says the reason."""

    value: float
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    why: str | None = None


class Interval(msgspec.Struct, frozen=True):
    low: float
    high: float


class Test(msgspec.Struct, frozen=True):
    """A two-sided p and the test it comes from."""

    __test__ = False  # not a test of ours, whatever pytest thinks

    p: float
    name: str


class Undefined(msgspec.Struct, frozen=True):
    """Nothing can be estimated, for this reason."""

    why: str


def decide(estimate: Estimate, p: float, margin: float, higher_is_better: bool = True) -> Verdict:
    """equivalent: the interval of the difference lies inside the margin, so whatever difference there is does not
    matter. better or worse: the interval and the test both exclude no difference; where every cluster differs by the
    same there is no interval, and the test decides if the difference matters. Everything else is undecided."""
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        if p >= 1 - LEVEL or abs(estimate.value) < margin:
            return "undecided"
        return "better" if (estimate.value > 0) == higher_is_better else "worse"
    if -margin < low and high < margin:
        return "equivalent"
    if p < 1 - LEVEL and (low > 0 or high < 0):
        return "better" if (low > 0) == higher_is_better else "worse"
    return "undecided"


def clusters_to_decide(estimate: Estimate, margin: float) -> int | None:
    """About how many clusters (items, raters) would decide, if the spread stays as it is: enough to tell the
    observed difference from none, or, where that is smaller than the margin, to fit the interval into the margin.
    None without an interval or without spread."""
    if estimate.low is None or estimate.high is None:
        return None
    target = max(abs(estimate.value), margin - abs(estimate.value))
    half = (estimate.high - estimate.low) / 2
    if half <= 0 or target <= 0:
        return None
    return max(estimate.n_clusters + 1, int(np.ceil(estimate.n_clusters * (half / target) ** 2 - 1e-9)))


def codes(names: Sequence[str]) -> Ints:
    """[n] names as integers 0, 1, ... in order of first appearance."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)

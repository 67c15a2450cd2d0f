"""Several claims, and claims that nothing changed: Holm, Benjamini-Hochberg, and two one-sided tests.

A study's primary claim is tested alone. Its other claims are a family under Holm (no false claim in 95 of 100
studies); exploratory slices are a family under Benjamini-Hochberg (at most one in twenty of those found is false).
"No significant difference" never says that there is none: `tost` and `noninferior` do.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from scipy.stats import t as student

from analysis.estimates import LEVEL, Undefined


class Equivalence(msgspec.Struct, frozen=True):
    """p of each one-sided test; the claim needs both (equivalence) or one (no harm) under 5 %."""

    p_above: float  # that the difference is not above -margin
    p_below: float  # that it is not below +margin

    @property
    def p(self) -> float:
        return max(self.p_above, self.p_below)

    @property
    def equivalent(self) -> bool:
        return self.p < 1 - LEVEL


class Harm(msgspec.Struct, frozen=True):
    """`none`: worse by less than the margin; `undecided`: harm of that size is not excluded."""

    said: Literal["none", "undecided"]
    p: float


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p in the order given (Holm 1979)."""
    values = np.asarray(ps, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return _back(np.minimum(stepped, 1), order)


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """Adjusted p (q values) in the order given (Benjamini and Hochberg 1995)."""
    values = np.asarray(ps, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = values[order] * (len(values) / np.arange(1, len(values) + 1))  # the largest stays what it was
    return _back(np.minimum(np.minimum.accumulate(stepped[::-1])[::-1], 1), order)


def _back(adjusted: np.ndarray, order: np.ndarray) -> list[float]:
    out = np.empty(len(order))
    out[order] = adjusted
    return [float(p) for p in out]


def tost(value: float, standard_error: float | None, df: int, margin: float) -> Equivalence | Undefined:
    """Two one-sided t tests that a difference lies inside +- margin (Schuirmann 1987)."""
    reason = _untestable(standard_error, df, margin)
    if reason or standard_error is None:
        return Undefined(reason or "no standard error")
    return Equivalence(
        p_above=float(student.sf((value + margin) / standard_error, df)),
        p_below=float(student.cdf((value - margin) / standard_error, df)),
    )


def noninferior(
    value: float, standard_error: float | None, df: int, margin: float, higher_is_better: bool
) -> Harm | Undefined:
    """Did B do no harm: is it not worse than A by `margin` or more?"""
    both = tost(value, standard_error, df, margin)
    if isinstance(both, Undefined):
        return both
    p = both.p_above if higher_is_better else both.p_below
    return Harm("none" if p < 1 - LEVEL else "undecided", p)


def _untestable(standard_error: float | None, df: int, margin: float) -> str | None:
    if standard_error is None or df < 1:
        return "a single cluster has no standard error"
    if standard_error <= 0:
        return "nothing varies: no spread to measure"
    if margin <= 0:
        return "a margin of zero can never be shown"
    return None

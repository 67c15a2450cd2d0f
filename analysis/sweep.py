"""A share as a threshold moves: one estimate with its interval per threshold, per system.

The contract is a plain row per system, threshold and item. The same items stand at every threshold, so a curve shows
the threshold and nothing else; where items are missing at one, that is an error. Rankings that flip along the
curves are named, because there the threshold and not the systems made the ranking.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from analysis.paired import Estimate, mean_estimate
from protocols.errors import InputError


class SweepRow(NamedTuple):
    """Whether one item counts at one threshold; None: it has no value there."""

    system: str
    threshold: float
    item: str
    value: float | None  # 0 or 1
    cluster: str | None = None  # None: the item is its own


class Point(msgspec.Struct, frozen=True):
    threshold: float
    estimate: Estimate | None  # None: no item has a value
    n_items: int
    unscored: int  # items without a value: counted, not averaged


class Curve(msgspec.Struct, frozen=True):
    system: str
    points: tuple[Point, ...]


class Sweep(msgspec.Struct, frozen=True):
    """What the picture and its table show."""

    title: str  # of the share
    threshold: str  # what moves, with its unit
    curves: tuple[Curve, ...]
    flips: tuple[str, ...]  # sentences


def sweep(rows: Iterable[SweepRow], title: str, threshold: str, seed: int = 0) -> Sweep:
    """Curves in order of first appearance, thresholds ascending. Intervals: Wilson's where every item is its own
    cluster, else a bootstrap over clusters."""
    found: dict[str, dict[float, dict[str, SweepRow]]] = {}
    for row in rows:
        if row.value not in (None, 0, 1):
            raise InputError(f"{row.system}, {row.item} at {row.threshold:g}: {row.value} is neither 0 nor 1")
        items = found.setdefault(row.system, {}).setdefault(row.threshold, {})
        if row.item in items:
            raise InputError(f"{row.system} has {row.item} twice at {row.threshold:g}")
        items[row.item] = row
    curves = tuple(_curve(system, by_threshold, seed) for system, by_threshold in found.items())
    return Sweep(title, threshold, curves, _flips(curves, threshold))


def _curve(system: str, by_threshold: dict[float, dict[str, SweepRow]], seed: int) -> Curve:
    wanted = set().union(*by_threshold.values())
    points = []
    for threshold, rows in sorted(by_threshold.items()):
        if missing := sorted(wanted - set(rows)):
            raise InputError(f"{system} lacks {missing[0]} at {threshold:g}; a curve needs the same items throughout")
        scored = [r for r in rows.values() if r.value is not None]
        values = np.array([r.value for r in scored], dtype=np.float64)
        estimate = mean_estimate(values, [r.cluster or r.item for r in scored], True, seed)
        points.append(Point(threshold, estimate, len(rows), len(rows) - len(scored)))
    return Curve(system, tuple(points))


def _flips(curves: Sequence[Curve], threshold: str) -> tuple[str, ...]:
    """A sentence for every pair of systems of which one is ahead here and the other there."""
    found = []
    for i, a in enumerate(curves):
        for b in curves[i + 1 :]:
            theirs = {p.threshold: p.estimate for p in b.points}
            both = [(p.threshold, p.estimate.value - other.value) for p in a.points
                    if p.estimate is not None and (other := theirs.get(p.threshold)) is not None]  # fmt: skip
            above, below = [t for t, d in both if d > 0], [t for t, d in both if d < 0]
            if above and below:
                found.append(
                    f"By the estimates alone, {a.system} is above {b.system} at {_list(above)} and below it at "
                    f"{_list(below)} ({threshold}): the threshold decides which is higher."
                )
    return tuple(found)


def _list(thresholds: Sequence[float]) -> str:
    return ", ".join(f"{t:g}" for t in thresholds)

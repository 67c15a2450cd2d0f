"""How much a system differs from itself: several takes of the same item under the same protocol.

A system that samples its tokens gives another answer each time. The spread between takes is noise of one item, not a
difference between systems, and a reader should see it beside the figure. Intervals need nothing from here: they
resample items, each with all its takes.
"""

from collections.abc import Iterable

import msgspec
import numpy as np

from analysis.tables import latest
from protocols.records import Score


class WithinItem(msgspec.Struct, frozen=True):
    """The spread between takes of one item, over the items that have two scored takes or more."""

    items: int
    takes: int
    variance: float  # pooled over items, each with its takes minus one degrees of freedom
    agreeing: float  # share of the items whose takes all have the same value


def within_items(scores: Iterable[Score], metric: str) -> WithinItem | None:
    """A metric's variance between takes of an item (one event of a sample); None without an item of two takes."""
    values: dict[tuple[str, int | None], list[float]] = {}
    for item, score in latest(scores, metric).items():
        if score.value is not None:
            values.setdefault((item.sample, item.event), []).append(score.value)
    repeated = [np.array(v) for v in values.values() if len(v) > 1]
    if not repeated:
        return None
    takes = sum(len(v) for v in repeated)
    differing = [v for v in repeated if np.ptp(v) > 0]  # equal takes vary by nothing, though their mean is rounded
    squares = sum(float(np.square(v - v.mean()).sum()) for v in differing)
    agreeing = 1 - len(differing) / len(repeated)
    return WithinItem(len(repeated), takes, squares / (takes - len(repeated)), agreeing)

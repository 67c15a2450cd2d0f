"""Scores of two runs, item by item: what matches, what only one run has, what could not be scored.

An item is one event of one take of one sample. Nothing is dropped in silence: every count that is not a matched
pair is a field of its own.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protocols.records import Score

Floats = npt.NDArray[np.float64]


class Item(NamedTuple):
    sample: str
    take: int | None  # None: the mean over takes
    event: int | None


class Paired(NamedTuple):
    """One metric's values in two runs, matched by item."""

    a: Floats  # [n]
    b: Floats  # [n]
    clusters: tuple[str, ...]  # [n]
    items: tuple[Item, ...]  # [n]
    only_a: int  # items the other run does not have at all
    only_b: int
    unscored: int  # items both runs have, of which at least one has no value
    outcomes_a: dict[str, int]  # over all items of run a, scored or not
    outcomes_b: dict[str, int]


def latest(scores: Iterable[Score], metric: str) -> dict[Item, Score]:
    """A metric's last score for each item."""
    return {Item(s.sample, s.take, s.event): s for s in scores if s.metric == metric}


def pair(scores_a: Iterable[Score], scores_b: Iterable[Score], metric: str) -> Paired:
    """Match two runs' scores of a metric."""
    a, b = latest(scores_a, metric), latest(scores_b, metric)
    both = [item for item in a if item in b]
    matched = [item for item in both if a[item].value is not None and b[item].value is not None]
    return Paired(
        a=np.array([a[item].value for item in matched], dtype=np.float64),
        b=np.array([b[item].value for item in matched], dtype=np.float64),
        clusters=tuple(a[item].cluster or item.sample for item in matched),
        items=tuple(matched),
        only_a=len(a) - len(both),
        only_b=len(b) - len(both),
        unscored=len(both) - len(matched),
        outcomes_a=outcomes(a.values()),
        outcomes_b=outcomes(b.values()),
    )


def pair_over_takes(scores_a: Iterable[Score], scores_b: Iterable[Score], metric: str) -> Paired:
    """Match by sample and event, each with its run's mean over the takes that have a value, so that runs of different
    numbers of takes are compared on all of them. `unscored` counts items without a value in any take of a run."""
    a, b = latest(scores_a, metric), latest(scores_b, metric)
    means_a, means_b = _means(a), _means(b)
    both = [item for item in means_a if item in means_b]
    values = [(item, means_a[item], means_b[item]) for item in both]
    matched = [(item, x, y) for item, x, y in values if x is not None and y is not None]
    clusters = {(item.sample, item.event): score.cluster or item.sample for item, score in a.items()}
    return Paired(
        a=np.array([x for _, x, _ in matched], dtype=np.float64),
        b=np.array([y for _, _, y in matched], dtype=np.float64),
        clusters=tuple(clusters[item.sample, item.event] for item, _, _ in matched),
        items=tuple(item for item, _, _ in matched),
        only_a=len(means_a) - len(both),
        only_b=len(means_b) - len(both),
        unscored=len(both) - len(matched),
        outcomes_a=outcomes(a.values()),
        outcomes_b=outcomes(b.values()),
    )


def _means(scores: dict[Item, Score]) -> dict[Item, float | None]:
    """Mean over takes by sample and event; None if no take has a value."""
    found: dict[Item, list[float]] = {}
    for item, score in scores.items():
        values = found.setdefault(Item(item.sample, None, item.event), [])
        if score.value is not None:
            values.append(score.value)
    return {item: sum(values) / len(values) if values else None for item, values in found.items()}


def outcomes(scores: Iterable[Score]) -> dict[str, int]:
    """How often each outcome occurred, most frequent first."""
    counts: dict[str, int] = {}
    for score in scores:
        counts[score.outcome] = counts.get(score.outcome, 0) + 1
    return dict(sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])))

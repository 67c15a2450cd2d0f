"""Two runs' scores, one metric at a time: matched, compared, and counted by outcome and task.

Scores are grouped by metric in one pass, because a run of a million rows must not be read once per metric. Figures keep
at most `STEPS` points of a distribution: the page stays small whatever the run's size.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from analysis.paired import Comparison, compare
from analysis.tables import Floats, Paired, outcomes, pair
from analysis.takes import WithinItem, within_items
from protocols.records import MetricInfo, Sample, Score

STEPS = 200


class Outcomes(msgspec.Struct, frozen=True):
    """How often each outcome occurred in one task."""

    task: str
    a: dict[str, int]
    b: dict[str, int]


class Curve(msgspec.Struct, frozen=True):
    """A distribution: `shares` of the values are at or below `values`."""

    values: tuple[float, ...]
    shares: tuple[float, ...]


class Measured(NamedTuple):
    """What two runs show for one metric."""

    info: MetricInfo
    paired: Paired
    result: Comparison | None
    by_task: tuple[Outcomes, ...]
    within_a: WithinItem | None  # the spread between takes of one item
    within_b: WithinItem | None


Grouped = Mapping[str, list[Score]]


def by_metric(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """Scores by the name of their metric, in the order written."""
    found: dict[str, list[Score]] = {}
    for score in scores:
        found.setdefault(score.metric, []).append(score)
    return found


def measure(info: MetricInfo, a: Grouped, b: Grouped, samples: Mapping[str, Sample], seed: int) -> Measured:
    """One metric of two runs."""
    rows_a, rows_b = a.get(info.name, []), b.get(info.name, [])
    paired = pair(rows_a, rows_b, info.name)
    result = compare(paired.a, paired.b, paired.clusters, info.kind == "binary", seed)
    within = [within_items(rows, info.name) for rows in (rows_a, rows_b)]
    return Measured(info, paired, result, _by_task(rows_a, rows_b, samples), *within)


def _by_task(a: list[Score], b: list[Score], samples: Mapping[str, Sample]) -> tuple[Outcomes, ...]:
    sides: list[dict[str, list[Score]]] = []
    for rows in (a, b):
        newest = {(s.sample, s.take, s.event): s for s in rows}
        tasks: dict[str, list[Score]] = {}
        for s in newest.values():
            tasks.setdefault(samples[s.sample].task if s.sample in samples else "unknown task", []).append(s)
        sides.append(tasks)
    return tuple(
        Outcomes(task, outcomes(sides[0].get(task, [])), outcomes(sides[1].get(task, [])))
        for task in dict.fromkeys([*sides[0], *sides[1]])
    )


def curve(values: Floats) -> Curve:
    """The distribution of [n] values, exact up to STEPS of them, else its quantiles."""
    x = np.sort(values)
    if len(x) <= STEPS:
        return Curve(tuple(x.tolist()), tuple(((np.arange(len(x)) + 1) / max(len(x), 1)).tolist()))
    shares = np.linspace(0, 1, STEPS)
    return Curve(tuple(np.quantile(x, shares).tolist()), tuple(shares.tolist()))


def part(measured: Measured, keep: np.ndarray, seed: int) -> Comparison | None:
    """The same comparison on some of the matched items, bool [n]."""
    paired = measured.paired
    clusters = [c for c, kept in zip(paired.clusters, keep, strict=True) if kept]
    return compare(paired.a[keep], paired.b[keep], clusters, measured.info.kind == "binary", seed)

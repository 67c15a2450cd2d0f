"""A run's figures for the terminal and for machines: one row per metric, with interval, n and outcomes."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from analysis.paired import Estimate, mean_estimate
from analysis.report.words import interval
from analysis.tables import latest, outcomes
from analysis.takes import WithinItem, within_items
from app.safety import print_safety
from app.show import Terminal
from protocols.records import MetricInfo, Score
from protocols.store import Run


class Figure(NamedTuple):
    metric: MetricInfo
    estimate: Estimate | None
    n_items: int
    outcomes: dict[str, int]
    within: WithinItem | None = None  # the spread between takes of one item

    def row(self) -> list[str]:
        """For a table: title, figure, scored of all items, outcomes."""
        unit = "" if self.metric.unit == "share" else f" {self.metric.unit}"
        figure = "no value" if self.estimate is None else interval(self.estimate, self.metric) + unit
        n = 0 if self.estimate is None else self.estimate.n
        spread = "" if self.within is None else f"; variance between takes {self.within.variance:.3g}"
        return [self.metric.title, figure, f"{n} of {self.n_items}", counts(self.outcomes) + spread]

    def data(self) -> dict[str, object]:
        e = self.estimate
        return {
            "metric": self.metric.name,
            "unit": self.metric.unit,
            "value": e and e.value,
            "low": e and e.low,
            "high": e and e.high,
            "n_scored": e.n if e else 0,
            "n_items": self.n_items,
            "outcomes": self.outcomes,
            "within_items": None if self.within is None else msgspec.to_builtins(self.within),
        }


def figures(run: Run, seed: int = 0) -> list[Figure]:
    """One figure per metric of the run."""
    scores = list(run.read(Score))
    out = []
    for info in run.info.metrics:
        items = latest(scores, info.name)
        scored = [s for s in items.values() if s.value is not None]
        values = np.array([s.value for s in scored], dtype=np.float64)
        estimate = mean_estimate(values, [s.cluster or s.sample for s in scored], info.kind == "binary", seed)
        out.append(Figure(info, estimate, len(items), outcomes(items.values()), within_items(scores, info.name)))
    return out


def counts(by_name: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in by_name.items())


def print_figures(run: Run, terminal: Terminal, more: Mapping[str, object] | None = None) -> list[Figure]:
    """A run's figures and its safety by type, as tables and as data; `more` goes into the data alone."""
    found = figures(run)
    terminal.table(["metric", "figure [95 % interval]", "scored", "outcomes"], [f.row() for f in found])
    safety = print_safety(run, terminal)
    terminal.say(f"\nRun: {run.path}")
    data = {"run": str(run.path), "system": run.info.system, "figures": [f.data() for f in found]}
    terminal.result(data | ({"safety": safety} if safety else {}) | dict(more or {}))
    return found

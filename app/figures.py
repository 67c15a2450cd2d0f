"""A run's figures for the terminal and for machines: one row per metric, with interval, n and outcomes."""

from typing import NamedTuple

import numpy as np

from analysis.paired import Estimate, mean_estimate
from analysis.report.summarize import interval
from analysis.tables import latest, outcomes
from protocols.records import MetricInfo, Score
from protocols.store import Run


class Figure(NamedTuple):
    metric: MetricInfo
    estimate: Estimate | None
    n_items: int
    outcomes: dict[str, int]

    def row(self) -> list[str]:
        """For a table: title, figure, scored of all items, outcomes."""
        figure = "no value" if self.estimate is None else interval(self.estimate, self.metric)
        unit = "" if self.metric.unit == "share" else f" {self.metric.unit}"
        n = 0 if self.estimate is None else self.estimate.n
        return [self.metric.title, figure + unit, f"{n} of {self.n_items}", counts(self.outcomes)]

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
        out.append(Figure(info, estimate, len(items), outcomes(items.values())))
    return out


def counts(by_name: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in by_name.items())

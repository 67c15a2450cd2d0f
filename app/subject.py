"""What can be put to a judge: the shape that safety and answers share, so that one door serves both."""

from collections.abc import Callable
from typing import NamedTuple

from eval.metrics.base import Metric

Step = Callable[[int], None]  # takes how many are done


class Subject(NamedTuple):
    """Something of a run that a judge or a guard model decides."""

    adds: dict[str, tuple[str, ...]]  # task -> metrics that nobody else can give it
    questions: int
    metrics: Callable[[Step], dict[str, Metric]]  # asks everything; the metrics that rest on it
    names: frozenset[str]  # of those metrics

"""Metrics by name. A metric reads spans and words, never sound, and says what its figure rests on."""

from eval.metrics.base import Metric
from eval.metrics.qa import QA_SPEECH, QA_TEXT
from eval.metrics.timing import LATENCY, OVERLAP, PAUSE_HELD
from protocols.errors import unknown_name

METRICS: dict[str, Metric] = {m.info.name: m for m in (LATENCY, PAUSE_HELD, OVERLAP, QA_TEXT, QA_SPEECH)}


def metric(name: str) -> Metric:
    """The metric of that name."""
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return METRICS[name]

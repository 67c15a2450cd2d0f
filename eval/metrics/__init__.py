"""Metrics by name. A metric reads spans and words, never sound, and says what its figure rests on."""

from eval.metrics.base import Metric
from eval.metrics.compat import COMPAT
from eval.metrics.qa import QA_METRICS
from eval.metrics.safety import safety_metrics
from eval.metrics.speech import SPEECH_METRICS
from eval.metrics.timing import TIMING
from protocols.errors import unknown_name

METRICS: dict[str, Metric] = {m.info.name: m for m in (*TIMING, *COMPAT, *QA_METRICS, *SPEECH_METRICS)}
METRICS.update(safety_metrics())


def metric(name: str) -> Metric:
    """The metric of that name."""
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return METRICS[name]

"""Strict timing: event-anchored classes and figures over spans and words, never sound.

One outcome per event, latency signed and never clamped, every threshold in `TimingSettings`. What did not happen
or cannot be known has no value and a reason; silence is never good. Published rules with their quirks are in
`eval.metrics.compat`.
"""

from eval.metrics.base import Metric
from eval.metrics.timing import cost, floor, pauses, quiet, turns
from eval.metrics.timing.figures import Figure, event_metric
from eval.metrics.timing.flow import flow_metrics
from eval.metrics.timing.readouts import outcome_metric, time_metric
from eval.metrics.timing.replay import replay_metrics
from eval.metrics.timing.settings import DEFAULT, TimingSettings

FIGURES: dict[str, Figure] = {
    f.name: f for f in (*turns.FIGURES, *pauses.FIGURES, *floor.FIGURES, *quiet.FIGURES, *cost.FIGURES)
}


def timing_metrics(settings: TimingSettings = DEFAULT) -> tuple[Metric, ...]:
    """Every strict timing metric under these settings."""
    return (
        *(event_metric(figure, settings) for figure in FIGURES.values()),
        *(event_metric(figure, settings, "words") for figure in FIGURES.values()),
        quiet.unprompted_metric(settings),
        *replay_metrics(settings),
        *flow_metrics(settings),
        time_metric(settings),
        outcome_metric(list(FIGURES.values()), settings),
    )


TIMING = timing_metrics()

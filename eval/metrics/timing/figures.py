"""From what a rule found for each event to a metric: its card, its value per outcome, its reason where there is none.

A rule judges every event of its kinds once; several figures (a share, a latency) may read the same findings.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

from eval.metrics.base import Heard, Metric, Reading, each_event
from eval.metrics.timing.scene import ReadOut, Scene, scene_maker
from eval.metrics.timing.settings import DEFAULT, TimingSettings
from protocols.records import Evidence, MetricInfo

NOT_HEARD = "no transcriber listened to this talk"


class Finding(NamedTuple):
    """What a rule says of one event."""

    event: int
    outcome: str
    evidence: tuple[Evidence, ...] = ()
    seconds: float | None = None  # what the rule measured (its docstring says what)
    why: str | None = None  # why it measured nothing


Rule = Callable[[Scene], list[Finding]]


class Figure(NamedTuple):
    """A figure over a rule's findings: a share (`values`: outcome -> value) or its seconds (values None)."""

    name: str
    version: str
    title: str
    unit: str
    better: Literal["higher", "lower", "none"]
    margin: float
    definition: str
    degenerate: str
    rule: Rule
    kinds: tuple[str, ...]
    values: Mapping[str, float] | None = None

    def value(self, finding: Finding) -> float | None:
        return finding.seconds if self.values is None else self.values.get(finding.outcome)


@lru_cache
def findings_maker(rule: Rule, settings: TimingSettings, read_out: ReadOut) -> Callable[[Heard], list[Finding] | None]:
    """A function that applies a rule to a talk, the same one for the same settings; None: the read-out is missing."""
    make = scene_maker(settings, read_out)

    def judge(heard: Heard) -> list[Finding] | None:
        scene = heard.once(make)
        return None if scene is None else rule(scene)

    return judge


def event_metric(figure: Figure, settings: TimingSettings = DEFAULT, read_out: ReadOut = "vad") -> Metric:
    """The metric that reads a figure's findings, one reading per event."""
    judge = findings_maker(figure.rule, settings, read_out)

    def read(heard: Heard) -> list[Reading]:
        found = heard.once(judge)
        if found is None:
            wanted = [i for i, e in enumerate(heard.talk.events) if e.kind in figure.kinds]
            return [Reading(None, "not_heard", NOT_HEARD, i) for i in wanted]
        return [reading(figure, f) for f in found]

    by_words = read_out == "words"
    info = MetricInfo(
        name=figure.name + (".words" if by_words else ""),
        version=figure.version + settings.turned(),
        title=figure.title + (" (by words)" if by_words else ""),
        unit=figure.unit,
        kind="continuous" if figure.values is None else "binary",
        better=figure.better,
        margin=figure.margin,
        definition=figure.definition + (" Agent speech is what a transcriber's words cover." if by_words else ""),
        degenerate=figure.degenerate + (f" Where {NOT_HEARD}: no value, outcome not_heard." if by_words else ""),
    )
    return Metric(info, read, each_event(*figure.kinds), by_words)


def reading(figure: Figure, finding: Finding) -> Reading:
    """A finding as this figure shows it."""
    value = figure.value(finding)
    reason = None if value is not None else finding.why or f"the outcome is {finding.outcome.replace('_', ' ')}"
    return Reading(value, finding.outcome, reason, finding.event, finding.evidence)

"""What a metric is: its card, and a function from what was heard to readings.

A reading has a value, or a reason why it has none; either way an outcome, and evidence wherever something was
found. A metric that has nothing to say about a talk (no pause in it, say) gives no reading at all; a talk that
broke gives readings without values, so that it stays in the denominator.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

from protocols.records import Channel, Conversation, Event, Evidence, Listening, MetricInfo, Sample, Transcript
from protocols.timeline import Span, Track

T = TypeVar("T")


class _Heard(NamedTuple):
    sample: Sample
    talk: Conversation
    listening: Listening
    duration: float


class Heard(_Heard):
    """A talk with everything a metric may look at, and what metrics have made of it so far."""

    def once(self, make: Callable[["Heard"], T]) -> T:
        """`make(self)`, made once however many metrics ask for it."""
        made = self.__dict__.setdefault("_made", {})
        if make not in made:
            made[make] = make(self)
        return cast(T, made[make])

    def spans(self, channel: Channel) -> Track:
        """When a channel speaks, as the activity detector heard it."""
        return next(a.spans for a in self.listening.activity if a.channel == channel)

    @property
    def activity_source(self) -> str:
        return self.listening.activity[0].source

    def events(self, kind: str) -> list[tuple[int, Event]]:
        """The talk's events of a kind with their index."""
        return [(i, e) for i, e in enumerate(self.talk.events) if e.kind == kind]

    def model_transcript(self) -> Transcript | None:
        """The agent's words as the system itself says them."""
        return next((t for t in self.talk.transcripts if t.channel == "agent"), None)

    def speech_transcript(self) -> Transcript | None:
        """The agent's words as a transcriber heard them; None if none listened."""
        return next((t for t in self.listening.transcripts if t.channel == "agent"), None)


class Reading(NamedTuple):
    """What a metric found for one event of a talk, or for the whole talk."""

    value: float | None
    outcome: str
    reason: str | None = None
    event: int | None = None
    evidence: tuple[Evidence, ...] = ()


class Metric(NamedTuple):
    info: MetricInfo
    read: Callable[[Heard], list[Reading]]
    applies: Callable[[Sample], list[int | None]]  # the events (None: the whole talk) it reads in a sample
    needs_words: bool = False  # it has no value unless a transcriber listened

    @property
    def scorer(self) -> str:
        return f"{self.info.name}/{self.info.version}"


def whole_talk(sample: Sample) -> list[int | None]:
    """For metrics that read a talk as a whole."""
    return [None]


def each_event(*kinds: str) -> Callable[[Sample], list[int | None]]:
    """For metrics that read every event of some kinds."""
    return lambda sample: [i for i, event in enumerate(sample.events) if event.kind in kinds]


def evidence(label: str, channel: Channel, span: Span, source: str, text: str = "") -> Evidence:
    return Evidence(label, channel, span.start, span.end, source, text)

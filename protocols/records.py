"""The records every room reads and writes: plain, frozen, typed values (how they become JSON: `protocols.base`).

Times are seconds on the record's own clock; an unknown value is None with a reason beside it, never NaN, -1 or "".
Storage adds nothing to a record.
"""

from typing import Literal, NamedTuple

from protocols.base import Record, Value
from protocols.timeline import Span, is_track

Channel = Literal["agent", "user"]
CHANNELS: tuple[Channel, Channel] = ("agent", "user")  # also the order of the channels in every audio array

Seconds = float


class Key(NamedTuple):
    """What one talk of a run is called: the n-th take of a sample."""

    sample: str
    take: int


# --- what is asked ---------------------------------------------------------------------------------------------


class Cue(Value, frozen=True):
    """A stretch of a sound file placed on the user's channel."""

    path: str  # relative to the suite's folder
    at: Seconds  # where it starts on the sample's clock
    start: Seconds = 0.0  # from here ...
    end: Seconds | None = None  # ... to here in the file; None: to its end
    gain_db: float = 0.0
    channel: int | None = None  # which channel of the file; None: it has only one
    after_agent: Seconds | None = None  # played this long after the agent begins to speak, `at` at the earliest


EventKind = Literal["turn", "pause", "interruption", "backchannel", "background", "side_talk"]


class Event(Value, frozen=True):
    """Something the user's channel does that an agent should handle.

    A `turn` runs from the user's first sound to the last one of the turn, pauses included; a `pause` is silence
    inside a turn.
    """

    kind: EventKind
    start: Seconds
    end: Seconds
    source: str  # how the times are known: "made", "given" or a detector's name
    label: str = ""  # what is said, where it is known for this event; of a pause, its kind
    cue: int | None = None  # the cue it moves with; None: it stays where it is
    missed: str | None = None  # in a talk: why it did not happen (its cue was never played)

    def __post_init__(self) -> None:
        Value.__post_init__(self)
        if self.end < self.start:
            raise ValueError(f"{self.kind} event ends at {self.end} s, before it starts at {self.start} s")


class Sample(Record, frozen=True, tag="sample/1"):
    """One stimulus: what the user's channel plays, what happens in it, and what would be right.

    t = 0 is the first sample of the user's audio. `length` is that audio's duration, without lead-in and tail.
    """

    id: str
    task: str
    cues: tuple[Cue, ...]
    length: Seconds
    events: tuple[Event, ...] = ()
    text: str = ""  # what the user says
    answers: tuple[str, ...] = ()
    cluster: str | None = None  # samples that share a cluster are not independent
    tags: tuple[str, ...] = ()
    overlay: tuple[str, ...] | None = None  # what counts instead with an overlay's corrections; () takes it out


class Task(Record, frozen=True, tag="task/1"):
    """A family of samples and the names of the metrics that score it."""

    name: str
    version: str
    metrics: tuple[str, ...]
    samples: tuple[Sample, ...]


# --- what happened ---------------------------------------------------------------------------------------------


class Recording(Value, frozen=True):
    """A two-channel sound file of a run (left agent, right user), named by its content."""

    path: str  # relative to the run folder
    sample_rate: int
    n_samples: int
    sha256: str  # of the file's bytes

    @property
    def duration(self) -> Seconds:
        return self.n_samples / self.sample_rate


class StoredFile(Value, frozen=True):
    """Any other file of a run, named by its content."""

    path: str  # relative to the run folder
    sha256: str


class Word(Value, frozen=True):
    """A word and the time it sounds."""

    text: str
    start: Seconds
    end: Seconds

    def __post_init__(self) -> None:
        Value.__post_init__(self)
        if self.end < self.start:
            raise ValueError(f"word {self.text!r} ends at {self.end} s, before it starts at {self.start} s")


class Transcript(Value, frozen=True):
    """The words of one channel as one source gives them ("model": the system's own text stream)."""

    channel: Channel
    source: str
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(w.text for w in self.words)


class Activity(Value, frozen=True):
    """When one channel speaks, as one detector hears it."""

    channel: Channel
    source: str
    spans: tuple[Span, ...]

    def __post_init__(self) -> None:
        if not is_track(self.spans):
            raise ValueError(f"{self.channel} activity of {self.source} is not sorted and disjoint")


class Pacing(Value, frozen=True):
    """How well a real-time talk kept its schedule, in milliseconds of lateness per frame."""

    frames: int
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    step_p50_ms: float
    step_p99_ms: float


class Conversation(Record, frozen=True, tag="conversation/1"):
    """One talk between a system and a user, live or simulated; also one that failed, with the reason."""

    sample: str
    take: int
    system: str
    seed: int
    recording: Recording | None
    reason: str | None = None  # why there is no recording
    user_offset: Seconds = 0.0  # where the sample's t = 0 lies in the recording
    events: tuple[Event, ...] = ()  # the sample's events on the recording's clock
    transcripts: tuple[Transcript, ...] = ()  # what the system itself says it said
    tokens: StoredFile | None = None  # the system's own token grid, npy int16 [streams, frames]
    pacing: Pacing | None = None
    lag: Seconds | None = None  # live: how much later the agent was heard (recorded) than it spoke on its own clock
    usage: dict[str, float] = {}  # what the system says it used: tokens by kind, cost

    def __post_init__(self) -> None:
        Value.__post_init__(self)
        if (self.recording is None) == (self.reason is None):
            raise ValueError("a conversation has either a recording or a reason why it has none")

    @property
    def key(self) -> Key:
        return Key(self.sample, self.take)


GuardKind = Literal["agent_silent", "user_silent", "clipped", "swapped", "misplaced", "wrong_rate", "wrong_length"]


class Listening(Record, frozen=True, tag="listening/1"):
    """What our instruments heard in a recording: spans and words with their sources, and what is wrong with it."""

    sample: str
    take: int
    activity: tuple[Activity, ...]
    transcripts: tuple[Transcript, ...] = ()
    guards: tuple[GuardKind, ...] = ()

    @property
    def key(self) -> Key:
        return Key(self.sample, self.take)


# --- what it is worth ------------------------------------------------------------------------------------------


class MetricInfo(Value, frozen=True):
    """What a metric's figures mean; it is written into the run, so analysis never needs the metric's code."""

    name: str
    version: str
    title: str
    unit: str
    kind: Literal["binary", "continuous"]
    better: Literal["higher", "lower", "none"]
    margin: float  # the smallest difference that matters, in the metric's unit
    definition: str
    degenerate: str  # what happens when there is nothing to measure


class Evidence(Value, frozen=True):
    """A stretch of a recording that made a score what it is."""

    label: str
    channel: Channel
    start: Seconds
    end: Seconds
    source: str
    text: str = ""


class Score(Record, frozen=True, tag="score/1"):
    """One figure for one event of a talk (or for the whole talk), or the reason why there is none.

    A score without a value stays in the denominator: it is counted wherever scores are counted.
    """

    sample: str
    take: int
    metric: str
    scorer: str  # metric and version
    value: float | None
    outcome: str  # the class the talk fell into, e.g. "answered", "early"
    reason: str | None = None
    event: int | None = None  # index into the talk's events
    evidence: tuple[Evidence, ...] = ()
    cluster: str | None = None

    def __post_init__(self) -> None:
        Value.__post_init__(self)
        if (self.value is None) == (self.reason is None):
            raise ValueError("a score has either a value or a reason why it has none")

    @property
    def key(self) -> Key:
        return Key(self.sample, self.take)


class Rating(Record, frozen=True, tag="rating/1"):
    """A person's answer to one question about one talk or an ordered pair of talks. Never changed: a correction
    is a new rating whose `amends` names the old one."""

    id: str
    rater: str  # a pseudonym
    study: str
    talks: tuple[str, ...]  # one, or two in the order heard
    question: str
    answer: int | str | None
    reason: str | None = None  # why the answer is None
    at: str = ""  # ISO 8601, UTC
    amends: str | None = None

"""The smaller contracts that let rooms meet without importing each other. `app` hands the implementations over.

Audio here is mono float32 in [-1, 1]; where no rate is named it is 24 kHz. Every implementation has a `source`:
its name, version and settings in one short string that is written beside whatever it produced.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from protocols.duplex import Audio
from protocols.records import Channel, Word
from protocols.timeline import Track


class ActivityDetector(Protocol):
    """Decides when somebody speaks."""

    @property
    def source(self) -> str: ...

    def spans(self, audio: Audio, sample_rate: int) -> Track:
        """Speech in one channel, [n] samples; a silent channel gives no spans."""
        ...


class Edge(NamedTuple):
    """Where speech begins or ends, seconds; an end is known some time after it."""

    kind: Literal["start", "end"]
    at: float


class SpeechGate(Protocol):
    """A detector that hears one talk as it goes on."""

    def push(self, audio: Audio) -> Sequence[Edge]:
        """The edges that the next samples, [n] at 24 kHz, make known; starts and ends take turns, a start first."""
        ...


class Transcriber(Protocol):
    """Writes down what is said, with the time of each word."""

    @property
    def source(self) -> str: ...

    def words(self, audio: Audio, sample_rate: int, speech: Track) -> tuple[Word, ...]:
        """Words of one channel, [n] samples. Nothing outside `speech` is ever transcribed."""
        ...


class WordAligner(Protocol):
    """Finds the times of words that are known to be said."""

    @property
    def source(self) -> str: ...

    def times(self, text: str, audio: Audio, sample_rate: int) -> tuple[Word, ...] | None:
        """The words of `text` in [n] samples; None if they cannot be found."""
        ...


class Speaker(Protocol):
    """Text to speech, for users' voices and anything else that only has to be said."""

    @property
    def source(self) -> str: ...

    @property
    def voices(self) -> Sequence[str]: ...

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        """`text` at 24 kHz, [n], trimmed to the first and last sound."""
        ...


class Voice(Protocol):
    """The agent's own voice: says words at given times, so that a written reply can replace a spoken one."""

    @property
    def source(self) -> str: ...

    def say(self, words: Sequence[Word], duration: float) -> Audio:
        """[duration * 24,000] samples with each word at its time."""
        ...


class Line(NamedTuple):
    """A timed line of a transcript, as a critic reads it."""

    channel: Channel
    start: float
    end: float
    text: str


class Verdict(NamedTuple):
    """What a critic says of one agent turn on one axis."""

    turn: int
    axis: str
    score: int | None  # 0-4; None where the axis does not apply
    problematic: bool
    evaluation: str


class Waiting(Exception):
    """No error: the question was put down, to be asked together with others; ask again when that is done."""


class Critic(Protocol):
    """Judges the agent's turns of a talk on one axis: the closed world's truth, a language model, or a person."""

    @property
    def source(self) -> str: ...

    def judge(self, talk: Sequence[Line], axis: str) -> list[Verdict]:
        """One verdict per agent turn, in order. Raises Unjudged where none could be had, and Waiting."""
        ...


Outcome = Literal["refusal", "partial", "comply", "no_answer", "error", "unscored"]


class Exchange(NamedTuple):
    """A request and what the agent answered, as text."""

    request: str
    reply: str


class Finding(NamedTuple):
    """What a reader makes of an exchange. Whether it refuses and whether it harms are two questions."""

    outcome: Outcome
    sure: bool  # False: another reader may know better
    harmful: bool | None = None  # None: this reader does not say
    phrase: str = ""  # the words it rests on
    reason: str | None = None  # why it is unscored, or not sure


class SafetyReader(Protocol):
    """Labels exchanges: rules, a guard model, a language model, or a person's table."""

    @property
    def source(self) -> str: ...

    def read(self, exchanges: Sequence[Exchange]) -> list[Finding]:
        """One finding per exchange, in order; one that cannot be labelled is `unscored` with a reason."""
        ...


class Guard(SafetyReader, Protocol):
    """A model trained to label exchanges; every one says what harms, some also what refuses."""

    @property
    def labels_refusal(self) -> bool: ...


class Tokenizer(Protocol):
    """A system's text vocabulary."""

    @property
    def source(self) -> str: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

"""The smaller contracts that let rooms meet without importing each other. `app` hands the implementations over.

Audio here is mono float32 in [-1, 1]; where no rate is named it is 24 kHz. Every implementation has a `source`:
its name, version and settings in one short string that is written beside whatever it produced.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

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


class Critic(Protocol):
    """Judges the agent's turns of a talk on one axis: the closed world's truth, a language model, or a person."""

    @property
    def source(self) -> str: ...

    def judge(self, talk: Sequence[Line], axis: str) -> list[Verdict]: ...


class Tokenizer(Protocol):
    """A system's text vocabulary."""

    @property
    def source(self) -> str: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

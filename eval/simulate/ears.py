"""What a simulated user understands of the agent: its text stream, or a transcriber's reading of its sound.

Ears are given frames as they are heard and never know more. `since` takes a snapshot that can be read later, also in
another thread.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import numpy as np

from eval.hear_all import Instruments
from eval.talk import words_of
from protocols.audio import resample
from protocols.duplex import SAMPLE_RATE, Audio, TextPiece
from protocols.errors import InputError

EarKind = Literal["text", "asr"]


class Ears(Protocol):
    def hear(self, audio: Audio, text: Sequence[TextPiece]) -> None:
        """The agent's next frame and the text it gave with it."""
        ...

    def since(self, frame: int) -> Callable[[], str]:
        """A function that gives what was understood from a frame on until now."""
        ...


class TextEars:
    """Understands what the system writes down."""

    def __init__(self) -> None:
        self._frames: list[tuple[TextPiece, ...]] = []

    def hear(self, audio: Audio, text: Sequence[TextPiece]) -> None:
        self._frames.append(tuple(text))

    def since(self, frame: int) -> Callable[[], str]:
        pieces = [(0, piece) for frame_pieces in self._frames[frame:] for piece in frame_pieces]
        return lambda: " ".join(word.text for word in words_of(pieces, 0.0))


class TranscribingEars:
    """Understands what a transcriber makes of the agent's sound."""

    def __init__(self, instruments: Instruments, sample_rate: int) -> None:
        if instruments.transcriber is None:
            raise InputError("a user with ears of sound needs a transcriber; give --asr, or --ears text")
        self._detector, self._transcriber = instruments.detector, instruments.transcriber
        self._rate = sample_rate
        self._frames: list[Audio] = []

    def hear(self, audio: Audio, text: Sequence[TextPiece]) -> None:
        self._frames.append(audio)

    def since(self, frame: int) -> Callable[[], str]:
        heard = self._frames[frame:]

        def read() -> str:
            sound = resample(np.concatenate(heard), self._rate, SAMPLE_RATE) if heard else np.zeros(0, np.float32)
            spans = self._detector.spans(sound, SAMPLE_RATE)
            return " ".join(w.text for w in self._transcriber.words(sound, SAMPLE_RATE, spans)) if spans else ""

        return read

"""The user's side of a talk as turns: what a gate hears, and when silence has lasted long enough to be an end.

A turn may have several stretches of speech with pauses between them; the sound of all of it is kept until it is
answered. Everything is decided on the talk's clock from what has been heard, so both clocks decide the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from protocols.contracts import SpeechGate
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.timeline import Span

MARGIN = 0.2  # seconds of sound around a turn that go to the recogniser


class Ended(NamedTuple):
    """The user has been silent for long enough; decided `at` seconds."""

    span: Span
    at: float


class Ears:
    """`silence`: seconds that end a turn."""

    def __init__(self, gate: SpeechGate, silence: float) -> None:
        self._gate, self._silence = gate, silence
        self._heard: list[Audio] = []
        self._start: float | None = None  # of the stretch since which no turn has ended
        self._end: float | None = None  # of its speech, while the user is silent
        self.now = 0.0  # seconds heard

    def hear(self, frame: Audio) -> tuple[bool, Ended | None]:
        """Whether the user has just begun to speak, and whether a stretch has just ended."""
        self._heard.append(frame)
        self.now = len(self._heard) * len(frame) / SAMPLE_RATE
        begun = False
        for edge in self._gate.push(frame):
            if edge.kind == "start":
                begun = begun or self._end is not None or self._start is None
                self._start = edge.at if self._start is None else self._start
                self._end = None
            else:
                self._end = edge.at
        if self._start is None or self._end is None or self.now - self._end < self._silence:
            return begun, None
        ended = Ended(Span(self._start, max(self._end, self._start + 1 / SAMPLE_RATE)), self._end + self._silence)
        self._start = self._end = None
        return begun, ended

    @property
    def speaking(self) -> float:
        """How long the user has been speaking, in seconds; 0 where the user is silent."""
        return self.now - self._start if self._start is not None and self._end is None else 0.0

    def sound(self, spans: Sequence[Span]) -> tuple[Audio, tuple[Span, ...]]:
        """The sound around these spans, [n], and where in it they lie."""
        first = max(spans[0].start - MARGIN, 0.0)
        all_of_it = np.concatenate(self._heard)
        sound = all_of_it[round(first * SAMPLE_RATE) : round((spans[-1].end + MARGIN) * SAMPLE_RATE)]
        return sound, tuple(Span(span.start - first, span.end - first) for span in spans)

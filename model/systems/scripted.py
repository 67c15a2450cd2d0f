"""A system that follows a script: it says given sounds at given times, and stops or does not stop when interrupted.

Scripts are exact to the sample, so they are the ground truth that instruments and metrics are tested against, and
the pair `duologue demo` compares. A script is written on the session's clock, before the talk; the only thing a
scripted session listens for is a user who speaks while it is speaking.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from protocols.duplex import FRAME_SIZE, SAMPLE_RATE, Audio, Step, SystemInfo, TextPiece
from protocols.errors import InputError

VOICED_LEVEL = 0.02  # a user sample above this counts as speech


class Line(NamedTuple):
    """Something the agent says, from `at` seconds on."""

    at: float
    audio: Audio  # [n] at 24 kHz
    text: str = ""
    stops_after: float | None = None  # seconds of user speech after which it falls silent; None: it never yields


Script = Sequence[Line]


class ScriptedSystem:
    """Follows one script per sample."""

    def __init__(self, name: str, scripts: Mapping[str, Script]) -> None:
        self.info = SystemInfo(name=name, version="1", slots=64)
        self._scripts = scripts

    def open(self, seed: int, sample_id: str | None = None) -> "ScriptedSession":
        if sample_id is None or sample_id not in self._scripts:
            raise InputError(f"{self.info.name} has no script for sample {sample_id!r}")
        return ScriptedSession(self._scripts[sample_id])

    def close(self) -> None:
        pass


class ScriptedSession:
    def __init__(self, script: Script) -> None:
        self._lines = sorted(script, key=lambda line: line.at)
        self._starts = [round(line.at * SAMPLE_RATE) for line in self._lines]
        self._ends = [s + len(line.audio) for s, line in zip(self._starts, self._lines, strict=True)]
        self._pieces = [_pieces(line) for line in self._lines]
        self._yielding: set[int] = set()
        self._frame = 0
        if self._starts and self._starts[0] < FRAME_SIZE:
            raise InputError(f"a script cannot speak before {FRAME_SIZE / SAMPLE_RATE} s, its first line is earlier")

    def step(self, frame: Audio) -> Step:
        heard_from = self._frame * FRAME_SIZE
        self._frame += 1
        start = self._frame * FRAME_SIZE
        end = start + FRAME_SIZE
        self._hear(frame, heard_from, start)
        audio = np.zeros(FRAME_SIZE, np.float32)
        text: list[TextPiece] = []
        for i, line in enumerate(self._lines):
            a, b = max(self._starts[i], start), min(self._ends[i], end)
            if a < b:
                audio[a - start : b - start] += line.audio[a - self._starts[i] : b - self._starts[i]]
                text += [p for p in self._pieces[i] if a <= round((p.start or 0.0) * SAMPLE_RATE) < b]
        return Step(audio, tuple(text))

    def _hear(self, frame: Audio, heard_from: int, now: int) -> None:
        """If the user speaks over a line, set when that line ends; never earlier than the next frame."""
        for i, line in enumerate(self._lines):
            if line.stops_after is None or i in self._yielding or not self._starts[i] < now <= self._ends[i]:
                continue
            voiced = np.flatnonzero(np.abs(frame) > VOICED_LEVEL)
            voiced = voiced[voiced + heard_from >= self._starts[i]]
            if voiced.size:
                stop = heard_from + int(voiced[0]) + round(line.stops_after * SAMPLE_RATE)
                self._ends[i] = min(self._ends[i], max(stop, now))
                self._yielding.add(i)

    def close(self) -> None:
        pass


def _pieces(line: Line) -> list[TextPiece]:
    """The line's words, dated by their share of its letters."""
    words = line.text.split()
    letters = sum(len(w) for w in words)
    duration = len(line.audio) / SAMPLE_RATE
    pieces, done = [], 0
    for word in words:
        start, done = done, done + len(word)
        pieces.append(TextPiece(" " + word, line.at + duration * start / letters, line.at + duration * done / letters))
    return pieces

"""Where audio that comes back over a network is heard: at max(its arrival, the end of what came before it).

`RealTime` is the session's clock. The runner gives frame k when it has just ended for somebody who speaks into a
microphone, so at that moment the session's clock reads (k + 1) frames; what arrives from then on can be heard from
then on, at the very sample. `Playout` keeps what has arrived until its frame is due. It belongs to two threads, the one
that receives and the one that steps, and is the only thing they share besides a failure.

It deliberately does not conceal gaps: a server that is late is heard to be late.
"""

import threading
import time
from typing import NamedTuple

import numpy as np

from protocols.duplex import Audio


class RealTime:
    """The session's clock, in seconds. Before the first frame it stands at one frame, where an agent can begin."""

    def __init__(self, frame: float) -> None:
        self._frame = frame
        self._began: float | None = None

    def tick(self, number: int) -> None:
        """Frame `number` is given now. The earliest frame, relative to its due time, sets the clock."""
        began = time.perf_counter() - number * self._frame
        self._began = began if self._began is None else min(began, self._began)

    def now(self) -> float:
        return self._frame if self._began is None else time.perf_counter() - self._began + self._frame


class Placed(NamedTuple):
    """A stretch of sound and where it is heard, in samples of the session's clock."""

    start: int
    audio: Audio  # [n]

    @property
    def end(self) -> int:
        return self.start + len(self.audio)


class Playout:
    """Arrived audio, placed. `earliest`: the first sample at which anything can be heard."""

    def __init__(self, sample_rate: int, earliest: int) -> None:
        self._rate = sample_rate
        self._pieces: list[Placed] = []
        self._end = earliest
        self._taken = earliest
        self._lock = threading.Lock()

    def add(self, audio: Audio, at: float) -> Placed:
        """Place audio [n] that arrived `at` seconds."""
        with self._lock:
            placed = Placed(max(round(at * self._rate), self._end, self._taken), audio)
            self._pieces.append(placed)
            self._end = placed.end
            return placed

    def take(self, start: int, size: int) -> Audio:
        """What is heard in [start, start + size); nothing can be placed before its end afterwards."""
        out = np.zeros(size, np.float32)
        with self._lock:
            self._taken = max(self._taken, start + size)
            for piece in self._pieces:
                low, high = max(piece.start, start), min(piece.end, start + size)
                if low < high:
                    out[low - start : high - start] = piece.audio[low - piece.start : high - piece.start]
            self._pieces = [piece for piece in self._pieces if piece.end > self._taken]
        return out

    def cut(self, at: float) -> int:
        """Fall silent `at` seconds, or after what has been taken if that is later; the sample where silence begins."""
        with self._lock:
            until = max(round(at * self._rate), self._taken)
            self._pieces = [p._replace(audio=p.audio[: until - p.start]) for p in self._pieces if p.start < until]
            self._end = min(self._end, until)
            return until

    def ahead(self, at: float) -> float:
        """How many seconds of audio wait to be heard after `at`."""
        with self._lock:
            return self._end / self._rate - at

    @property
    def end(self) -> float:
        """Where what has been placed ends, in seconds."""
        with self._lock:
            return self._end / self._rate

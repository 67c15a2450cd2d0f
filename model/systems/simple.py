"""The two systems whose behaviour needs no explanation: one says nothing, one repeats what it hears."""

from collections import deque

import numpy as np

from protocols.duplex import FRAME_SIZE, Audio, Step, SystemInfo


class SilenceSystem:
    """Never says anything: the floor under every metric, and the proof that silence is not rewarded."""

    info = SystemInfo(name="silence", version="1", slots=64)

    def open(self, seed: int, sample_id: str | None = None) -> "DelayLine":
        return DelayLine(None)

    def close(self) -> None:
        pass


class EchoSystem:
    """Repeats the user `delay_frames` frames later (at least one)."""

    def __init__(self, delay_frames: int = 1) -> None:
        self.info = SystemInfo("echo", "1", slots=64, has_text=False, decoding={"delay_frames": delay_frames})
        self._delay_frames = delay_frames

    def open(self, seed: int, sample_id: str | None = None) -> "DelayLine":
        return DelayLine(self._delay_frames)

    def close(self) -> None:
        pass


class DelayLine:
    """A session that gives frames back some frames later, or never."""

    def __init__(self, delay_frames: int | None) -> None:
        self._silence = np.zeros(FRAME_SIZE, np.float32)
        self._kept: deque[Audio] | None = None
        if delay_frames is not None:
            self._kept = deque([self._silence] * (delay_frames - 1))

    def step(self, frame: Audio) -> Step:
        if self._kept is None:
            return Step(self._silence)
        self._kept.append(frame.copy())
        return Step(self._kept.popleft())

    def close(self) -> None:
        pass

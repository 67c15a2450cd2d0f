"""A system made late on purpose: the trap of a study. Sound and words come a fixed time after they would have.

Everything else is the system's own. Where the system steps its talks in one batch, so does this.
"""

from collections import deque
from collections.abc import Sequence
from typing import cast

import numpy as np

from protocols.duplex import Audio, BatchedSystem, DuplexSystem, Session, Step, SystemInfo


class LateSession:
    """A talk whose answers wait in a queue."""

    def __init__(self, session: Session, frames: int, frame_size: int) -> None:
        self.session = session
        self._waiting = deque(Step(np.zeros(frame_size, np.float32)) for _ in range(frames))

    def step(self, frame: Audio) -> Step:
        return self.later(self.session.step(frame))

    def later(self, step: Step) -> Step:
        """What is due now; the tokens are those of the step itself."""
        self._waiting.append(step)
        return self._waiting.popleft()._replace(tokens=step.tokens)

    def close(self) -> None:
        self.session.close()


class _Late:
    def __init__(self, system: DuplexSystem, delay: float) -> None:
        self.system = system
        self.frames = round(delay / system.info.frame)

    @property
    def info(self) -> SystemInfo:
        return self.system.info

    def open(self, seed: int, sample_id: str | None = None) -> LateSession:
        return LateSession(self.system.open(seed, sample_id), self.frames, self.info.frame_size)

    def close(self) -> None:
        self.system.close()


class _LateBatch(_Late):
    def step_all(self, sessions: Sequence[Session], frames: Sequence[Audio]) -> list[Step]:
        late = [cast(LateSession, session) for session in sessions]
        steps = cast(BatchedSystem, self.system).step_all([one.session for one in late], frames)
        return [one.later(step) for one, step in zip(late, steps, strict=True)]


def make_late(system: DuplexSystem, delay: float) -> DuplexSystem:
    """The system, `delay` seconds later (whole frames)."""
    return _LateBatch(system, delay) if isinstance(system, BatchedSystem) else _Late(system, delay)

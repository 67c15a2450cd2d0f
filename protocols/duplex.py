"""What a full-duplex system is to the rest of the house: something that listens and speaks one frame at a time.

The one rule of the clock: `step(frame k)` is given what the user says during frame k and returns what the agent
says during frame k + 1. A system can therefore never answer inside the frame it is still hearing, and a run on
the simulated clock has the timing a real-time run would have. Whoever assembles a recording places the output
of step k at sample (k + 1) * frame_size; the agent's frame 0 is silence.

A system states its own sample rate and frame size; the runner converts.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]

SAMPLE_RATE = 24_000  # Hz, of every recording
FRAME = 0.08  # seconds
FRAME_SIZE = 1_920  # samples at SAMPLE_RATE


class TextPiece(NamedTuple):
    """A piece of the system's own text stream; a leading space starts a new word.

    start and end are seconds on the session's clock where the system knows them; otherwise the piece is dated by
    the frame it sounds in.
    """

    text: str
    start: float | None = None
    end: float | None = None


class Step(NamedTuple):
    """What a session gives back for one frame."""

    audio: Audio  # [frame_size], the agent's next frame
    text: tuple[TextPiece, ...] = ()
    tokens: npt.NDArray[np.int16] | None = None  # [streams], the system's own token column, opaque to all but model


class SystemInfo(NamedTuple):
    """What a system says about itself; it lies on every run."""

    name: str
    version: str
    sample_rate: int = SAMPLE_RATE
    frame_size: int = FRAME_SIZE
    slots: int = 1  # sessions that can be open at once
    real_time_only: bool = False
    has_text: bool = True  # it writes down what it says
    decoding: dict[str, float | int | str | bool] = {}

    @property
    def frame(self) -> float:
        """Seconds per frame."""
        return self.frame_size / self.sample_rate


class TalkEnded(Exception):
    """Raised by a session that has nothing more to say, ever: the talk ends here, and that is no failure."""


class Session(Protocol):
    """One talk in progress."""

    def step(self, frame: Audio) -> Step:
        """Hear one user frame, float32 [frame_size] in [-1, 1], and say the next one. May raise TalkEnded."""
        ...

    def close(self) -> None: ...


class DuplexSystem(Protocol):
    """Something that can hold talks."""

    @property
    def info(self) -> SystemInfo: ...

    def open(self, seed: int, sample_id: str | None = None) -> Session:
        """Start a talk. All of its chance comes from `seed`.

        `sample_id` names the stimulus for systems that replay or follow a script; a model must not look at it.
        """
        ...

    def close(self) -> None: ...


class Account(NamedTuple):
    """What a session says of its talk besides sound: what it used, and what it understood the user to say."""

    usage: Mapping[str, float] = {}  # tokens by kind, cost
    heard: tuple[TextPiece, ...] = ()


@runtime_checkable
class AccountableSession(Protocol):
    """A session that keeps an account."""

    def account(self) -> Account:
        """The account so far; asked for when the talk is over, after `close`."""
        ...


@runtime_checkable
class BatchedSystem(Protocol):
    """A system that steps several open sessions in one go. Results equal those of stepping them one by one."""

    def step_all(self, sessions: Sequence[Session], frames: Sequence[Audio]) -> list[Step]: ...


def step_together(system: DuplexSystem, sessions: Sequence[Session], frames: Sequence[Audio]) -> list[Step | Exception]:
    """Step every session once, in one batch where the system can.

    A session that raises gives its exception in place of its step, so that its neighbours go on; when a batch
    raises, every session of that batch gets the exception.
    """
    if isinstance(system, BatchedSystem):
        try:
            return [*system.step_all(sessions, frames)]
        except Exception as error:
            return [error] * len(sessions)
    return [_step(session, frame) for session, frame in zip(sessions, frames, strict=True)]


def _step(session: Session, frame: Audio) -> Step | Exception:
    try:
        return session.step(frame)
    except Exception as error:
        return error

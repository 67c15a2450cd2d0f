"""One system, all its talks, one batch per frame on an absolute schedule.

A thread of its own owns the system: it opens and closes sessions and steps them, so nothing else ever touches it.
Every frame length there is a tick, at start + k * frame whatever happened before; at a tick every talk whose next
user frame is complete is stepped, in one batch where the system can. A talk that fell behind is stepped again in the
same tick until it has caught up. A tick that was missed is not made up for: whoever waits for it is just late, and
the lateness of every frame is handed on with its step.

The first step of a model takes far longer than the others, so one is done before the first talk.

What a step means to a talk, and when a talk is too late to be of use, is not decided here.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np

from protocols.duplex import Audio, DuplexSystem, Session, Step, step_together


class Due(NamedTuple):
    """A user frame that waits to be stepped."""

    audio: Audio
    complete_at: float  # time.perf_counter() when its last sample had arrived


class Done(NamedTuple):
    """What came of one frame, or of opening the session (then user is None)."""

    seat: "Seat"
    step: Step | Exception
    user: Audio | None = None
    late: float = 0.0  # seconds from the tick it was due at to the begin of its step
    took: float = 0.0  # seconds of the step
    batch: int = 1


class Seat:
    """A talk's place at a system. Frames go in on the caller's thread; `take` gets what comes out."""

    def __init__(self, take: Callable[[Done], None]) -> None:
        self.take = take
        self.pending: deque[Due] = deque()
        self.session: Session | None = None


class Stepper:
    def __init__(self, system: DuplexSystem, deliver: Callable[[Sequence[Done]], None]) -> None:
        """`deliver` is called on the stepper's thread with each batch; it must only pass it on."""
        self.info = system.info
        self._system = system
        self._deliver = deliver
        self._errands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._seats: list[Seat] = []
        self._open = True
        self._start = time.perf_counter()
        self._thread = threading.Thread(target=self._run, name=f"steps {system.info.name}", daemon=True)

    def start(self) -> None:
        self._start = time.perf_counter()
        self._thread.start()

    def close(self) -> None:
        """End all sessions and the system; returns when the thread has ended."""
        self._open = False
        if self._thread.ident is not None:
            self._thread.join()

    def until_tick(self, moment: float) -> float:
        """Seconds from a moment of time.perf_counter() to the next tick, more than 0 and at most a frame."""
        return self.info.frame - (moment - self._start) % self.info.frame

    def sit(self, seat: Seat, seed: int) -> None:
        """Open a session for a seat. If that fails, the seat gets the error and is not kept."""
        self._errands.put(lambda: self._sit(seat, seed))

    def leave(self, seat: Seat) -> None:
        self._errands.put(lambda: self._leave(seat))

    # --- on the thread ---

    def _run(self) -> None:
        self._warm_up()
        while self._open:
            due = self._wait_for_tick()
            while not self._errands.empty():
                self._errands.get()()
            while ready := [seat for seat in self._seats if seat.pending and seat.pending[0].complete_at <= due]:
                self._step(ready)
        for seat in list(self._seats):
            self._leave(seat)
        self._system.close()

    def _warm_up(self) -> None:
        with suppress(Exception):  # what is wrong with the system is said to the talk that meets it
            session = self._system.open(0)
            try:
                session.step(np.zeros(self.info.frame_size, np.float32))
            finally:
                session.close()

    def _wait_for_tick(self) -> float:
        now = time.perf_counter()
        left = self.until_tick(now)
        if self._last_tick_passed_unseen(now):
            return now - (self.info.frame - left)
        time.sleep(left)
        self._seen = now + left
        return self._seen

    def _last_tick_passed_unseen(self, now: float) -> bool:
        """A long step may end after the next tick: that tick is taken at once."""
        last = now - (self.info.frame - self.until_tick(now))
        if last - self._seen < self.info.frame / 2:
            return False
        self._seen = last
        return True

    _seen = float("inf")  # the tick that was taken last

    def _step(self, ready: list[Seat]) -> None:
        frames = [seat.pending.popleft() for seat in ready]
        began = time.perf_counter()
        steps = step_together(self._system, [s.session for s in ready if s.session], [f.audio for f in frames])
        took = time.perf_counter() - began
        self._deliver(
            [
                Done(seat, step, f.audio, began - f.complete_at - self.until_tick(f.complete_at), took, len(ready))
                for seat, step, f in zip(ready, steps, frames, strict=True)
            ]
        )
        for seat, step in zip(ready, steps, strict=True):
            if isinstance(step, Exception):
                self._leave(seat)

    def _sit(self, seat: Seat, seed: int) -> None:
        try:
            seat.session = self._system.open(seed)
        except Exception as error:
            self._deliver([Done(seat, error)])
            return
        self._seats.append(seat)

    def _leave(self, seat: Seat) -> None:
        if seat in self._seats and seat.session is not None:
            self._seats.remove(seat)
            seat.session.close()

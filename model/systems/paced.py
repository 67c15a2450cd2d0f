"""A talk with a peer that keeps its own time: frames go out as they are due, what comes back is placed by arrival.

One thread sends, one receives, and `step` waits until just before the next frame is due, so that audio that arrives
within a frame is heard within it, at its own sample. Nothing a peer does can hold `step` for longer than that: a
failure, in whichever thread, ends the wait and is raised. What the messages mean belongs to a subclass.

A peer that does not take what it is sent (`UNSENT`) or drowns us in messages (`FLOOD`) fails the talk. There is
deliberately no reconnecting: a talk with a hole in it is no measurement.
"""

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from model.systems.playout import Playout, RealTime
from protocols.duplex import Audio, Step, SystemInfo, TextPiece
from protocols.errors import DuologueError, PeerFailed

MARGIN = 0.008  # seconds before the next frame is due at which a step ends
UNSENT = 3.0  # seconds of audio that may wait to be sent
FLOOD = 200  # messages a second, for the whole talk, ...
BURST = 1_500  # ... beyond so many
GOODBYE = 2.0  # seconds that hanging up may take


class PacedSession(ABC):
    """Start it with `begin` when the peer is ready to talk."""

    def __init__(self, info: SystemInfo, peer: str) -> None:
        self._info, self._peer = info, peer
        self._clock = RealTime(info.frame)
        self._playout = Playout(info.sample_rate, info.frame_size)
        self._frames = 0  # heard so far
        self._outgoing: queue.Queue[bytes | None] = queue.Queue()
        self._incoming = 0  # messages so far
        self._error: DuologueError | None = None
        self._stop = threading.Event()  # failed or closed
        self._closed = False
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), daemon=True) for work in (self._sending, self._receiving)
        ]

    # --- what a subclass knows ---

    @abstractmethod
    def _encode(self, frame: Audio) -> bytes:
        """One frame as it is sent; empty if there is nothing to send yet."""

    @abstractmethod
    def _send(self, data: bytes) -> None:
        """Send one message. May block and raise."""

    @abstractmethod
    def _receive(self) -> None:
        """Wait for one message and take it in. May block and raise."""

    @abstractmethod
    def _hang_up(self) -> None:
        """End the connection; wakes whoever waits for it."""

    @abstractmethod
    def _text(self, until: float) -> tuple[TextPiece, ...]:
        """The words that begin to sound before `until` seconds and have not been given yet."""

    def _check(self) -> None:  # noqa: B027 (most peers may be silent)
        """Raise PeerFailed if the peer is not keeping up."""

    # --- the session ---

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()

    def step(self, frame: Audio) -> Step:
        self._raise()
        self._clock.tick(self._frames)
        if data := self._encode(frame):
            self._outgoing.put(data)
        self._frames += 1
        if self._outgoing.qsize() * self._info.frame > UNSENT:
            raise self._failed(f"has not taken the last {UNSENT:g} s of audio")
        self._check()
        until = (self._frames + 1) * self._info.frame
        self._stop.wait(max(until - MARGIN - self._clock.now(), 0.0))
        self._raise()
        return Step(self._playout.take(self._frames * self._info.frame_size, self._info.frame_size), self._text(until))

    def close(self) -> None:
        """Hang up, within `GOODBYE` whatever the peer does. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        self._outgoing.put(None)
        goodbye = threading.Thread(target=self._guard, args=(self._hang_up,), daemon=True)
        goodbye.start()
        for thread in (goodbye, *self._threads):
            if thread.ident is not None:
                thread.join(GOODBYE)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _failed(self, what: str) -> PeerFailed:
        return PeerFailed(f"{self._peer} {what}")

    def _guard(self, work: Callable[[], None]) -> None:
        """Run work of a thread; its failure becomes the talk's, unless the talk is over."""
        try:
            work()
        except Exception as error:
            if not self._stop.is_set():
                self._error = (
                    error if isinstance(error, DuologueError) else self._failed(f"cut the connection ({error})")
                )
                self._stop.set()

    def _sending(self) -> None:
        while (data := self._outgoing.get()) is not None:
            self._send(data)

    def _receiving(self) -> None:
        while not self._stop.is_set():
            self._receive()
            self._incoming += 1
            if self._incoming > BURST + FLOOD * self._clock.now():
                raise self._failed(f"sent {self._incoming} messages in {self._clock.now():.1f} s")

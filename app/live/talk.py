"""One live talk: what came from the page, what the system said to it, and whether the talk is still worth keeping.

Everything is on the page's clock, which counts packets, and on the system's, which counts frames; what was skipped in
between is logged, so that the two can be laid on each other to the sample. A page that was loaded anew has lost its
clock: the talk gives it the one it would have, and silence stands for what nobody recorded.

Sockets, tokens and slots are `server`'s; when a lag is too much is `lag`'s.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from app.live import events
from app.live.clock import FrameClock, Speech
from app.live.folder import LiveTalk, TalkFolder
from app.live.lag import LagWatch
from app.live.stepper import Done, Due, Seat, Stepper
from app.live.wire import AgentFrame, Malformed, Outcome, Packet, pack_frame
from protocols.duplex import Step, TalkEnded
from protocols.encoding import to_pcm16
from protocols.errors import DuologueError, StoreError
from protocols.records import Pacing

FLUSH = 0.4  # seconds between two flushes of the recording
FASTEST = 2.0  # seconds a page's clock may run ahead of ours
LONGEST_GAP = 60.0  # seconds of lost packets that silence may stand for


class Rules(NamedTuple):
    """What a talk must keep to. Seconds."""

    lag: float = 1.0  # over this ...
    lag_for: float = 0.5  # ... for this long: void
    away: float = 30.0  # without a connection: void
    limit: float = 300.0  # the talk is over
    kinds: tuple[str, ...] = ()  # of moments that may be marked


class Ending(NamedTuple):
    """How a talk ended. The reason is for everybody; the detail may name the system or a folder and is no page's."""

    outcome: Outcome
    reason: str
    detail: str = ""

    @property
    def whole(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class Line(Protocol):
    """A connection to the page."""

    def send(self, data: bytes) -> None: ...

    def hang_up(self, ending: Ending | None) -> None: ...

    def move_away(self) -> None: ...


class Talk:
    def __init__(
        self, folder: TalkFolder, stepper: Stepper, rules: Rules, packet: int, on_end: Callable[[], None]
    ) -> None:
        self.rules = rules
        self.packet = packet  # samples a side
        self.rate = folder.talk.rate
        self.connection = 0  # connections that have brought sound
        self.line: Line | None = None  # None while away
        self.ended: Ending | None = None
        self.seat = Seat(self._take)
        self._folder, self._stepper, self._on_end = folder, stepper, on_end
        self._clock = FrameClock(stepper.info, self.rate, stepper.until_tick)
        self._speech = Speech(stepper.info, self.rate)
        self._said = np.zeros(stepper.info.frame_size, np.int16)  # the agent's frame 0 is silence
        self._frames = 0
        self._expected = 0  # number of the next packet
        self._live_from = 0  # packets before it were recorded while away
        self._skipping: events.Skipped | None = None
        self._began: float | None = None
        self._flushed = 0.0
        self._lag = LagWatch(self.rate, rules.lag, rules.lag_for, self._log)
        self._marks: set[events.Marked] = set()
        self._late: list[float] = []
        self._steps: list[float] = []
        self._columns: list[np.ndarray] = []

    # --- the page ---

    @property
    def expected(self) -> int:
        return self._expected

    @property
    def samples(self) -> int:
        """How far the page's clock has come."""
        return self._expected * self.packet

    @property
    def left(self) -> float:
        return max(0.0, self.rules.limit - self.samples / self.rate)

    @property
    def position(self) -> int:
        """Of the agent's stream: what a page that was just loaded will hear first."""
        return self._speech.position if self._speech.number else 0

    @property
    def lag(self) -> float | None:
        """Seconds, as far as is known."""
        return self._lag.last

    def attach(self, line: Line, number: int | None, now: float) -> None:
        """A connection brings packets from now on; those before `number` were recorded while there was none. None: a
        page that was just loaded. `now`: time.perf_counter()."""
        if number is not None and not 0 <= (number - self._expected) * self.packet <= LONGEST_GAP * self.rate:
            raise Malformed(f"a page at packet {number} where {self._expected} is next")
        given_up = self._clock.restart()
        self._skip(self.samples - given_up, given_up, "of an unfinished frame")
        if number is None:
            self._lag.restart()
            if (lost := self._clock_at(now) - self._expected) > 0:
                self._fill(lost)
        self._live_from = self._expected if number is None else number
        self.line = line
        if self.connection:
            self._log(events.Back(self.samples, self.connection))

    def detach(self) -> None:
        self.line = None
        if not self.ended:
            self._log(events.Cut(self.samples))
            self._folder.flush()

    def hear(self, packet: Packet, now: float) -> None:
        """Record a packet and give it to the system. `now`: time.perf_counter()."""
        if packet.number < self._expected or self.ended:
            return  # sent again after a reconnection
        first = packet.number * self.packet
        self._began = now if self._began is None else self._began
        if first / self.rate - (now - self._began) > FASTEST:
            raise Malformed("the page's clock runs faster than time")
        if packet.position > self._speech.position:
            raise Malformed("the page plays what was never said")
        if packet.number > self._expected:
            self._fill(packet.number - self._expected)
        self._expected += 1
        self._folder.heard(packet.heard, packet.mic)
        if packet.number < self._live_from:
            self._pass_over(first, self.packet, "recorded while away")
            return
        was = self._clock.skipped
        for frame in self._clock.push(packet.mic, first, now):
            self.seat.pending.append(Due(frame, now))
        self._skip(first, self._clock.skipped - was, "before the frames begin")
        self._watch(packet)
        if now - self._flushed > FLUSH:
            self._folder.flush()
            self._flushed = now
        if self.left <= 0:
            self.end("done", "the time is up")

    def mark(self, mark: events.Marked) -> None:
        """Keep a moment that the person marked; a second time changes nothing."""
        if mark.sample > self.samples + FASTEST * self.rate:
            raise Malformed(f"a mark at sample {mark.sample} of a talk that has {self.samples}")
        if mark not in self._marks:
            self._marks.add(mark)
            self._log(mark)

    def _clock_at(self, now: float) -> int:
        """The packet that a page which never stopped would make next."""
        return 0 if self._began is None else int((now - self._began) * self.rate / self.packet)

    def _fill(self, n: int) -> None:
        """Silence for packets that never came."""
        if n * self.packet > LONGEST_GAP * self.rate:
            raise Malformed(f"{n} packets are missing")
        silence = np.zeros(n * self.packet, np.int16)
        self._log(events.Gap(self.samples, len(silence)))
        self._pass_over(self.samples, len(silence), "never arrived")
        self._folder.heard(silence, silence)
        self._expected += n

    def _pass_over(self, first: int, n: int, why: str) -> None:
        self._clock.pass_over(n)
        self._skip(first, n, why)

    def _skip(self, first: int, n: int, why: str) -> None:
        """Log what the system was not given: one line per stretch, when the stretch is over."""
        skip = self._skipping
        if n and skip is not None and skip.why == why:
            self._skipping = msgspec.structs.replace(skip, n=skip.n + n)
            return
        if skip is not None:
            self._log(skip)
        self._skipping = events.Skipped(first, n, why) if n else None

    def _watch(self, packet: Packet) -> None:
        self._lag.count(packet, self.samples)
        if not self._clock.running:
            return
        lag = self._lag.measure(packet, self.samples, self.samples - self._clock.skipped)
        if lag is not None:
            behind = len(self.seat.pending) * self._stepper.info.frame > self.rules.lag / 2
            why = "the system fell behind real time" if behind else "the sound came too late"
            self.end("voided", f"{why}: {lag:.2f} s where {self.rules.lag:g} s are allowed")

    # --- the system ---

    def _take(self, done: Done) -> None:
        if self.ended:
            return
        try:
            self._took(done)
        except StoreError as error:
            self.end("voided", "the talk cannot be kept", str(error))

    def _took(self, done: Done) -> None:
        if isinstance(done.step, TalkEnded):
            self.end("done", "the system ended the talk")
        elif isinstance(done.step, Exception):
            error = done.step
            why = str(error) if isinstance(error, DuologueError) else f"{type(error).__name__}: {error}"
            self.end("voided", "the system failed", why)
        else:
            self._say(done, done.step)

    def _say(self, done: Done, step: Step) -> None:
        """Record a step on the system's clock, and send what it says."""
        if done.user is None or step.audio.shape != done.user.shape or not np.isfinite(step.audio).all():
            self.end("voided", "the system gave a frame that is not sound")
            return
        self._folder.modelled(self._said, to_pcm16(done.user))
        self._frames += 1
        self._said = to_pcm16(step.audio)
        self._late.append(done.late)
        self._steps.append(done.took)
        self._log(
            events.Stepped(self._frames - 1, round(done.late * 1e3, 2), round(done.took * 1e3, 2), done.batch),
            *(events.Text(self._frames, piece.text, piece.start, piece.end) for piece in step.text),
        )
        if step.tokens is not None:
            self._columns.append(step.tokens)
        position, audio = self._speech.push(step.audio)
        if self.line is not None:
            self.line.send(pack_frame(AgentFrame(self._frames, position, to_pcm16(audio))))

    # --- the end ---

    def end(self, outcome: Outcome, reason: str, detail: str = "") -> None:
        """Nothing is recorded from here on; the first ending counts."""
        if self.ended is None:
            self.ended = Ending(outcome, reason, detail)
            with suppress(StoreError):  # a full disk is a reason to end, not to fail
                self._log(events.Ended(self.samples, self.ended.whole))
            self._stepper.leave(self.seat)
            if self.line is not None:
                self.line.hang_up(self.ended)
            self._on_end()

    def finish(self) -> LiveTalk:
        """Close the folder; the record of the talk. Slow (it encodes sound): not for the event loop."""
        ending = self.ended or Ending("voided", "the server stopped during the talk")
        middle, most = self._lag.middle_and_most()
        talk = msgspec.structs.replace(
            self._folder.talk,
            status=ending.outcome,
            reason=ending.reason,
            detail=ending.detail,
            pacing=_pacing(self._late, self._steps),
            lag_p50=middle,
            lag_max=most,
        )
        return self._folder.finish(talk, self._columns)

    def _log(self, *what: events.LiveEvent) -> None:
        for event in what:
            self._folder.log(event)


def _pacing(late: list[float], steps: list[float]) -> Pacing | None:
    if not late:
        return None
    late_ms, step_ms = np.array(late) * 1e3, np.array(steps) * 1e3
    p50, p99 = np.percentile(late_ms, [50, 99]).tolist()
    return Pacing(len(late), p50, p99, float(late_ms.max()), *np.percentile(step_ms, [50, 99]).tolist())

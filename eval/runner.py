"""Sample x system -> Conversation: steps sessions frame by frame and stores what both sides sounded like.

One rule places everything: the agent's output for frame k is heard in frame k + 1 (see `protocols.duplex`). On the
simulated clock frames follow each other as fast as the system steps; on the real-time clock frame k is given at
start + k * frame on an absolute schedule, and the lateness of every frame is recorded. As many talks run side by
side as the system has slots, and each talk's result does not depend on its neighbours.

A talk that fails is recorded with the reason and stays in the denominator; so does a real-time talk whose frames were
given too late for its timing to mean anything. A run that is killed goes on at the
first sample that has no line; an unreachable system stops the run instead of failing its samples.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from eval.channel import User, UserChannel
from eval.talk import Talk
from eval.tasks.user import user_sound
from protocols.duplex import DuplexSystem, Step, SystemInfo, TalkEnded, step_together
from protocols.errors import DuologueError, InputError, StoreError, SystemUnreachable
from protocols.records import Conversation, Key, Sample
from protocols.secrets import without_secrets
from protocols.store import Run, Writing

JITTER_LIMIT = 0.08  # seconds, one frame


class DriveOptions(NamedTuple):
    """How talks are held. Times in seconds."""

    repeats: int = 1  # talks per sample
    seed: int = 0
    lead_in: float = 0.96  # silence before the user's audio starts
    tail: float = 4.0  # silence after it
    greeting: Literal["none", "wait"] = "none"  # wait: hold the user back until the agent has been silent for 1 s
    clock: Literal["simulated", "real-time"] = "simulated"
    jitter_limit: float | None = None  # real time: how late frames may be (99th percentile); None: JITTER_LIMIT

    @property
    def jitter_gate(self) -> float | None:
        """The limit that holds; none on the simulated clock, where nothing can be late."""
        if self.clock == "simulated":
            return None
        return JITTER_LIMIT if self.jitter_limit is None else self.jitter_limit


class Driven(NamedTuple):
    """What a drive did."""

    made: int
    failed: int
    resumed: int  # talks that were there already
    audio_seconds: float


Users = Callable[[Sample, Key, int, SystemInfo], User]  # who takes part in a talk with that seed


def drive(
    system: DuplexSystem,
    samples: Iterable[Sample],
    root: Path,
    run: Run,
    options: DriveOptions,
    progress: Callable[[int], None] = lambda done: None,
    users: Users | None = None,
) -> Driven:
    """Hold every talk that the run does not hold yet.

    root: the folder the samples' cues lie in; users: who speaks instead of the cues.
    """
    if system.info.real_time_only and options.clock != "real-time":
        raise InputError(f"{system.info.name} only runs in real time; give --clock real-time")
    done = {talk.key for talk in run.read(Conversation)}
    wanted = [(s, Key(s.id, take)) for take in range(options.repeats) for s in samples]
    waiting = iter([(s, key) for s, key in wanted if key not in done])
    made = failed = 0
    seconds = 0.0
    progress(len(done))
    with run.writing() as writing:
        for conversation in _talks(system, waiting, users or _players(root, options), writing, options):
            writing.append(conversation)
            made += 1
            failed += conversation.recording is None
            seconds += conversation.recording.duration if conversation.recording else 0.0
            progress(len(done) + made)
    return Driven(made, failed, len(wanted) - made, seconds)


def talk_seed(seed: int, key: Key) -> int:
    """A talk's own seed, 32 bit: the same whatever else the run holds and in whatever order."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key.sample}/{key.take}".encode()).digest()[:4], "big")


def _players(root: Path, options: DriveOptions) -> Users:
    """Users that play what their samples hold."""

    def make(sample: Sample, key: Key, seed: int, info: SystemInfo) -> User:
        sound = user_sound(sample, root, info.sample_rate)
        return UserChannel(sample, sound, info, options.lead_in, options.greeting)

    return make


def _talks(
    system: DuplexSystem, waiting: Iterator[tuple[Sample, Key]], users: Users, writing: Writing, options: DriveOptions
) -> Iterator[Conversation]:
    """Finished conversations, in the order they end."""
    clock = _Clock(system.info.frame) if options.clock == "real-time" else None
    active: list[Talk] = []
    try:
        while True:
            while len(active) < system.info.slots and (next_one := next(waiting, None)) is not None:
                opened = _open(system, *next_one, users, options)
                if isinstance(opened, Conversation):
                    yield opened
                else:
                    active.append(opened)
            if not active:
                return
            if clock and not any(t.started for t in active):
                clock.restart()
            late = clock.wait() if clock else None
            before = time.perf_counter()
            steps = step_together(system, [t.session for t in active], [t.next_frame() for t in active])
            pace = None if late is None else (late, time.perf_counter() - before)
            going: list[Talk] = []
            for talk, step in zip(active, steps, strict=True):
                ended = _after(talk, step, pace, writing, options.jitter_gate)
                if ended is None:
                    going.append(talk)
                else:
                    yield ended
            active = going
    finally:
        for talk in active:
            talk.session.close()


def _open(system: DuplexSystem, sample: Sample, key: Key, users: Users, options: DriveOptions) -> Talk | Conversation:
    seed = talk_seed(options.seed, key)
    try:
        user = users(sample, key, seed, system.info)
        session = system.open(seed, sample.id)
    except (SystemUnreachable, StoreError):
        raise
    except Exception as error:
        return Conversation(sample.id, key.take, system.info.name, seed, None, _why(error))
    return Talk(sample, key, seed, system.info, session, user, options.tail)


def _after(
    talk: Talk, step: Step | Exception, pace: tuple[float, float] | None, writing: Writing, jitter_limit: float | None
) -> Conversation | None:
    """Take a step's result; the conversation if the talk is over."""
    failure: Exception | None = None
    if isinstance(step, TalkEnded):
        talk.end()
    elif isinstance(step, Exception):
        failure = step
    else:
        try:
            talk.take(step, pace)
        except DuologueError as error:
            failure = error
    if failure is None and not talk.over:
        return None
    talk.session.close()
    if isinstance(failure, SystemUnreachable):
        raise failure
    if failure is not None:
        return talk.failed(_why(failure))
    if (late := _too_late(talk, jitter_limit)) is not None:
        return talk.failed(late)
    recording = writing.write_audio(talk.key, talk.recorded())
    tokens = talk.tokens()
    return talk.conversation(recording, None if tokens is None else writing.write_tokens(talk.key, tokens))


def _too_late(talk: Talk, limit: float | None) -> str | None:
    """Why a real-time talk that lost its schedule does not count; None if it kept it."""
    pacing = talk.pacing()
    if limit is None or pacing is None or pacing.late_p99_ms <= 1000 * limit:
        return None
    return f"its frames were up to {pacing.late_p99_ms:.0f} ms late (99th percentile), more than {1000 * limit:.0f} ms"


def _why(error: Exception) -> str:
    return without_secrets(str(error) if isinstance(error, DuologueError) else f"{type(error).__name__}: {error}")


class _Clock:
    """Absolute-schedule pacing: sleeping until start + k * frame never drifts, however long a step takes."""

    def __init__(self, frame: float) -> None:
        self._frame = frame
        self.restart()

    def restart(self) -> None:
        """Frame 0 is due now."""
        self._start = time.perf_counter()
        self._next = 0

    def wait(self) -> float:
        """Sleep until the next frame is due; how late it is given, in seconds."""
        due = self._start + self._next * self._frame
        self._next += 1
        if (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        return time.perf_counter() - due

"""`duologue doctor --system S`: one talk with a system, and what it says about the way there and back.

The talk is held in real time whatever the system could do, as a user would hear it, and goes through the same runner,
detector and records as a benchmark; it is kept nowhere. Figures are of one talk: enough to find a wrong rate, a deaf
microphone or a slow machine, not to compare systems.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from app.systems import open_system
from eval.activity import SileroActivity
from eval.runner import DriveOptions, drive
from eval.tasks.suite import load_suite
from protocols.duplex import Audio, DuplexSystem, Session, SystemInfo
from protocols.errors import PeerFailed
from protocols.records import Conversation
from protocols.runs import Protocol, RunInfo
from protocols.store import Run
from protocols.timeline import Track

OPTIONS = DriveOptions(clock="real-time", jitter_limit=60.0)  # lateness is what is to be seen, not a reason to fail
CLIPPED = 0.999
QUIETEST = 1e-5  # -100 dBFS


class Level(NamedTuple):
    """How loud one channel's speech is, in dBFS; None where there is none."""

    speech: float | None
    peak: float

    @property
    def text(self) -> str:
        if self.speech is None:
            return f"no speech, peak {self.peak:.0f} dBFS"
        clipped = ", clipped" if self.peak >= 20 * np.log10(CLIPPED) else ""
        return f"{self.speech:.0f} dBFS in speech, peak {self.peak:.0f} dBFS{clipped}"


class Probe(NamedTuple):
    """What one talk says about a system. Times in seconds."""

    system: str
    question: str
    opened_in: float
    latency: float | None  # from the user's last sound to the agent's next first one; None: it did not answer
    said: str | None  # None: it writes nothing down
    real_time_factor: float | None  # time spent on a frame over the frame; None: the system keeps its own time
    jitter: float  # how late frames were given, 99th percentile
    user: Level
    agent: Level
    note: str | None = None  # what there is to know of the system: its size, where it runs

    def rows(self) -> list[tuple[str, str]]:
        latency = "no answer" if self.latency is None else f"{1000 * self.latency:.0f} ms"
        factor = "keeps its own time" if self.real_time_factor is None else f"{self.real_time_factor:.2f}"
        return [
            ("asked", self.question),
            ("answered", "(no text)" if self.said is None else self.said or "(nothing)"),
            ("opened in", f"{1000 * self.opened_in:.0f} ms"),
            ("latency", latency),
            ("real-time factor", factor),
            ("jitter of frames given", f"{1000 * self.jitter:.0f} ms (99th percentile)"),
            ("user", self.user.text),
            ("agent", self.agent.text),
            *([("system", self.note)] if self.note else []),
        ]

    def data(self) -> dict[str, Any]:
        """The same for machines."""
        return {**self._asdict(), "user": self.user._asdict(), "agent": self.agent._asdict()}


def probe(name: str, decoding: Mapping[str, float] = {}) -> Probe:
    """Open a system, ask it one question, listen. PeerFailed says why if the talk fails."""
    detector = SileroActivity()
    suite = load_suite("quick", detector, 1)
    sample = suite.samples[0]
    opened = open_system(name, suite, OPTIONS, decoding)
    system = _Timed(opened.system)
    try:
        with TemporaryDirectory() as folder:
            protocol = Protocol(suite.name, suite.sha256, 1, 0, OPTIONS.lead_in, OPTIONS.tail, "none", OPTIONS.clock)
            run = Run.create(Path(folder) / "run", RunInfo(name, system.info.version, protocol, "running", "", 1))
            drive(system, [sample], suite.root, run, OPTIONS)
            (talk,) = run.read(Conversation)
            if talk.recording is None:
                raise PeerFailed(f"{name} failed its talk: {talk.reason}")
            agent, user = run.read_audio(talk.recording)
            rate = talk.recording.sample_rate
    finally:
        system.close()
    assert talk.pacing is not None
    spans = [detector.spans(channel, rate) for channel in (agent, user)]
    said = next((t.text for t in talk.transcripts if t.channel == "agent"), None)
    busy = talk.pacing.step_p50_ms / 1000 / system.info.frame
    return Probe(
        system=name,
        question=sample.text,
        opened_in=system.opened_in,
        latency=_latency(spans[0], max(event.end for event in talk.events)),
        said=said,
        real_time_factor=None if system.info.real_time_only else busy,
        jitter=talk.pacing.late_p99_ms / 1000,
        user=_level(user, spans[1], rate),
        agent=_level(agent, spans[0], rate),
        note=opened.note,
    )


def _latency(agent: Track, user_end: float) -> float | None:
    """Signed: an agent that is speaking as the user ends began before it."""
    after = [span for span in agent if span.end > user_end]
    return after[0].start - user_end if after else None


def _level(audio: Audio, speech: Track, rate: int) -> Level:
    parts = [audio[round(span.start * rate) : round(span.end * rate)] for span in speech]
    voiced = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return Level(
        _db(float(np.sqrt(np.mean(voiced**2)))) if voiced.size else None,
        _db(float(np.abs(audio).max(initial=0.0))),
    )


def _db(level: float) -> float:
    return float(20 * np.log10(max(level, QUIETEST)))


class _Timed:
    """A system whose opening is timed."""

    def __init__(self, system: DuplexSystem) -> None:
        self._system = system
        self.opened_in = 0.0

    @property
    def info(self) -> SystemInfo:
        return self._system.info

    def open(self, seed: int, sample_id: str | None = None) -> Session:
        before = time.perf_counter()
        session = self._system.open(seed, sample_id)
        self.opened_in = time.perf_counter() - before
        return session

    def close(self) -> None:
        self._system.close()

"""The runner against real systems: placement, clocks, batches, failures, resuming."""

import math
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from builders import ROOT, tone
from eval.runner import DriveOptions, drive, talk_seed
from model.systems.scripted import Line, ScriptedSystem
from model.systems.simple import EchoSystem, SilenceSystem
from protocols.duplex import FRAME, FRAME_SIZE, SAMPLE_RATE, Audio, Step, SystemInfo, TalkEnded, TextPiece
from protocols.errors import InputError, SystemUnreachable
from protocols.records import Conversation, Cue, Event, Key, Sample
from protocols.runs import Protocol, RunInfo
from protocols.store import Run
from stopping import ended, stopped

INFO = RunInfo("x", "1", Protocol("s", "0", 1, 0, 1.0, 1.0, "none", "simulated"), "running", "2026-01-01", 3)
FAST = DriveOptions(lead_in=0.5, tail=1.0)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Three tones of different length."""
    made = []
    for n, seconds in enumerate((0.5, 1.0, 1.7)):
        soundfile.write(tmp_path / f"{n}.wav", tone(seconds), SAMPLE_RATE, subtype="FLOAT")
        events = (Event("turn", 0.0, seconds, "made"),)
        made.append(Sample(f"s{n}", "t", (Cue(f"{n}.wav", 0.0),), seconds, events))
    return made


def run_in(folder: Path) -> Run:
    return Run.create(folder / "run", INFO)


def recordings(run: Run) -> dict[Key, np.ndarray]:
    return {t.key: run.read_audio(t.recording) for t in run.read(Conversation) if t.recording}


def test_the_agent_is_heard_one_frame_after_what_it_heard(samples: list[Sample], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    drive(EchoSystem(), samples, tmp_path, run, FAST)
    for agent, user in recordings(run).values():
        np.testing.assert_allclose(agent[FRAME_SIZE:], user[:-FRAME_SIZE], atol=2e-4)
        assert not agent[:FRAME_SIZE].any()


def test_the_user_starts_after_the_lead_in_and_events_move_with_it(samples: list[Sample], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    drive(SilenceSystem(), samples, tmp_path, run, FAST)
    for talk in run.read(Conversation):
        agent, user = run.read_audio(talk.recording)  # type: ignore[arg-type]
        voiced = np.flatnonzero(np.abs(user) > 0.01) / SAMPLE_RATE
        assert voiced[0] == pytest.approx(0.5, abs=0.001)
        assert voiced[-1] == pytest.approx(talk.events[0].end, abs=0.005)
        assert talk.user_offset == 0.5
        assert talk.events[0].start == 0.5
        assert not agent.any()


def test_a_script_is_exact_to_the_sample(samples: list[Sample], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    line = Line(1.2345, tone(0.4, level=0.3), "one two")
    drive(ScriptedSystem("x", {"s0": [line], "s1": [line], "s2": []}), samples, tmp_path, run, FAST)
    both = recordings(run)
    start = round(1.2345 * SAMPLE_RATE)
    expected = np.zeros(both[Key("s0", 0)].shape[1], np.float32)
    expected[start : start + len(line.audio)] = line.audio
    np.testing.assert_allclose(both[Key("s0", 0)][0], expected, atol=2e-4)
    talk = next(t for t in run.read(Conversation) if t.sample == "s0")
    words = talk.transcripts[0].words
    assert [w.text for w in words] == ["one", "two"]
    assert words[0].start == pytest.approx(1.2345)
    assert words[-1].end == pytest.approx(1.2345 + 0.4)


def test_takes_have_their_own_seeds_and_names(samples: list[Sample], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    drive(SilenceSystem(), samples, tmp_path, run, FAST._replace(repeats=3))
    talks = list(run.read(Conversation))
    assert {t.key for t in talks} == {Key(f"s{n}", take) for n in range(3) for take in range(3)}
    assert len({t.seed for t in talks}) == 9
    assert talks[0].seed == talk_seed(0, talks[0].key) != talk_seed(1, talks[0].key)


class Noise:
    """A batched system whose sound depends on its seed alone; it remembers how many talks ran side by side."""

    def __init__(self, slots: int, fail_at: dict[str, int] | None = None) -> None:
        self.info = SystemInfo("noise", "1", slots=slots, has_text=False)
        self.widest = 0
        self._fail_at = fail_at or {}

    def open(self, seed: int, sample_id: str | None = None) -> "NoiseSession":
        return NoiseSession(np.random.default_rng(seed), self._fail_at.get(sample_id or "", -1))

    def step_all(self, sessions: Sequence["NoiseSession"], frames: Sequence[Audio]) -> list[Step]:
        self.widest = max(self.widest, len(sessions))
        return [s.step(f) for s, f in zip(sessions, frames, strict=True)]

    def close(self) -> None: ...


class NoiseSession:
    def __init__(self, rng: np.random.Generator, fail_at: int) -> None:
        self._rng, self._left = rng, fail_at

    def step(self, frame: Audio) -> Step:
        self._left -= 1
        if self._left == 0:
            raise RuntimeError("out of noise")
        return Step((0.1 * self._rng.standard_normal(FRAME_SIZE)).astype(np.float32) + frame)

    def close(self) -> None: ...


def test_a_batch_gives_what_single_talks_give(samples: list[Sample], tmp_path: Path) -> None:
    results = []
    for slots in (1, 2, 8):
        folder = tmp_path / str(slots)
        folder.mkdir()
        run = run_in(folder)
        system = Noise(slots)
        drive(system, samples, tmp_path, run, FAST)
        assert system.widest == min(slots, len(samples))
        results.append({t.key: t.recording.sha256 for t in run.read(Conversation) if t.recording})
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("batched", [True, False])
def test_a_talk_that_fails_is_recorded_and_the_others_go_on(
    samples: list[Sample], tmp_path: Path, batched: bool
) -> None:
    run = run_in(tmp_path)
    made = drive((Noise if batched else _Single)(1, {"s1": 5}), samples, tmp_path, run, FAST)
    assert (made.made, made.failed) == (3, 1)
    talks = {t.sample: t for t in run.read(Conversation)}
    assert talks["s1"].recording is None
    assert talks["s1"].reason == "RuntimeError: out of noise"
    assert talks["s0"].recording is not None
    assert talks["s2"].recording is not None


class _Single:
    """Noise without the batch."""

    def __init__(self, slots: int, fail_at: dict[str, int]) -> None:
        self._noise = Noise(slots, fail_at)
        self.info = self._noise.info
        self.open = self._noise.open
        self.close = self._noise.close


class Odd:
    """A system that misbehaves in one given way."""

    def __init__(self, how: str, frame_size: int = FRAME_SIZE, rate: int = SAMPLE_RATE) -> None:
        self.info = SystemInfo("odd", "1", sample_rate=rate, frame_size=frame_size)
        self._how = how
        self._steps = 0

    def open(self, seed: int, sample_id: str | None = None) -> "Odd":
        if self._how == "cannot open":
            raise InputError("no such voice")
        if self._how == "gone":
            raise SystemUnreachable("connection refused by ws://localhost:1")
        self._steps = 0
        return self

    def step(self, frame: Audio) -> Step:
        self._steps += 1
        size = self.info.frame_size
        if self._how == "nan" and self._steps == 3:
            return Step(np.full(size, np.nan, np.float32))
        if self._how == "short" and self._steps == 3:
            return Step(np.zeros(size - 1, np.float32))
        if self._how == "hangs up" and self._steps == 6:
            raise TalkEnded
        if self._how == "drops" and self._steps == 3:
            raise SystemUnreachable("the server closed the connection")
        return Step(np.full(size, 0.1, np.float32), (TextPiece(" tick"),) if self._steps % 2 else (TextPiece("s"),))

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("nan", "not numbers in frame 3"),
        ("short", "(1919,) samples in frame 3"),
        ("cannot open", "no such voice"),
    ],
)
def test_what_is_no_sound_fails_the_talk_with_the_frame(
    samples: list[Sample], tmp_path: Path, how: str, reason: str
) -> None:
    run = run_in(tmp_path)
    assert drive(Odd(how), samples, tmp_path, run, FAST).failed == 3
    assert all(reason in (t.reason or "") for t in run.read(Conversation))


@pytest.mark.parametrize("how", ["gone", "drops"])
def test_an_unreachable_system_stops_the_run_and_fails_no_sample(
    samples: list[Sample], tmp_path: Path, how: str
) -> None:
    run = run_in(tmp_path)
    with pytest.raises(SystemUnreachable):
        drive(Odd(how), samples, tmp_path, run, FAST)
    assert list(run.read(Conversation)) == []
    assert drive(EchoSystem(), samples, tmp_path, run, FAST).made == 3


def test_a_system_may_end_the_talk(samples: list[Sample], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    drive(Odd("hangs up"), samples[:1], tmp_path, run, FAST)
    talk = next(run.read(Conversation))
    assert talk.recording is not None
    assert talk.recording.n_samples == 5 * FRAME_SIZE
    assert [w.text for w in talk.transcripts[0].words] == ["ticks", "ticks", "tick"]
    (turn,) = talk.events  # the user's turn at 0.5 s was never reached
    assert (turn.start, turn.end, turn.missed) == (0.4, 0.4, "the talk ended before it")


def test_other_rates_and_frames_come_out_on_the_same_clock(samples: list[Sample], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    drive(Odd("works", frame_size=320, rate=16_000), samples[:1], tmp_path, run, FAST)
    talk = next(run.read(Conversation))
    assert talk.recording is not None
    audio = run.read_audio(talk.recording)
    assert talk.recording.sample_rate == SAMPLE_RATE
    assert talk.recording.duration == pytest.approx(0.5 + 0.5 + 1.0, abs=0.021)
    voiced = np.flatnonzero(np.abs(audio[1]) > 0.05) / SAMPLE_RATE
    assert voiced[0] == pytest.approx(0.5, abs=0.002)
    assert voiced[-1] == pytest.approx(1.0, abs=0.01)


def test_a_greeting_is_waited_for(samples: list[Sample], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    greeting = ScriptedSystem("x", {"s0": [Line(0.2, tone(1.0), "hello")]})
    drive(greeting, samples[:1], tmp_path, run, FAST._replace(greeting="wait"))
    talk = next(run.read(Conversation))
    assert talk.user_offset == pytest.approx(2.2, abs=2 * FRAME)
    assert talk.events[0].start == talk.user_offset


def test_real_time_keeps_an_absolute_schedule(samples: list[Sample], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    started = time.perf_counter()
    drive(_Slow(), samples[:1], tmp_path, run, FAST._replace(clock="real-time", jitter_limit=math.inf))
    spent = time.perf_counter() - started
    talk = next(run.read(Conversation))
    assert talk.pacing is not None
    assert talk.pacing.frames == 25
    assert spent >= 24 * FRAME
    assert talk.pacing.step_p50_ms >= 30
    (tmp_path / "simulated").mkdir()
    simulated = run_in(tmp_path / "simulated")
    drive(_Slow(), samples[:1], tmp_path, simulated, FAST)
    other = next(simulated.read(Conversation))
    assert other.recording.sha256 == talk.recording.sha256  # type: ignore[union-attr]


def test_a_talk_that_loses_its_schedule_fails_and_says_so(samples: list[Sample], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    options = FAST._replace(clock="real-time", jitter_limit=1e-9)
    assert drive(_Slow(), samples[:1], tmp_path, run, options).failed == 1
    (talk,) = run.read(Conversation)
    assert "ms late (99th percentile), more than 0 ms" in (talk.reason or "")
    assert talk.pacing is not None
    assert FAST.jitter_gate is None
    assert FAST._replace(clock="real-time").jitter_gate == FRAME


class _Slow(EchoSystem):
    """Echo that needs 30 ms a frame: sleeping a frame after every step would drift by as much."""

    def open(self, seed: int, sample_id: str | None = None) -> "_SlowSession":  # type: ignore[override]
        return _SlowSession(super().open(seed, sample_id))


class _SlowSession:
    def __init__(self, inner: object) -> None:
        self._inner = inner

    def step(self, frame: Audio) -> Step:
        time.sleep(0.03)
        return self._inner.step(frame)  # type: ignore[attr-defined,no-any-return]

    def close(self) -> None: ...


def test_a_system_that_only_runs_in_real_time_says_so(samples: list[Sample], tmp_path: Path) -> None:
    system = EchoSystem()
    system.info = system.info._replace(real_time_only=True)
    with pytest.raises(InputError, match="--clock real-time"):
        drive(system, samples, tmp_path, run_in(tmp_path), FAST)


def test_a_finished_run_is_left_as_it_is(samples: list[Sample], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    drive(EchoSystem(), samples, tmp_path, run, FAST)
    before = (run.path / "conversations.jsonl").read_bytes()
    again = drive(EchoSystem(), samples, tmp_path, run, FAST)
    assert (again.made, again.resumed) == (0, 3)
    assert (run.path / "conversations.jsonl").read_bytes() == before


def test_a_missing_sound_fails_its_sample_only(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "1.wav").unlink()
    run = run_in(tmp_path)
    assert drive(EchoSystem(), samples, tmp_path, run, FAST).failed == 1
    assert "no sound file" in next(t.reason or "" for t in run.read(Conversation) if t.sample == "s1")


def test_a_systems_own_tokens_are_kept_as_they_were_given(samples: list[Sample], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    drive(_Tokens(), samples[:1], tmp_path, run, FAST)
    talk = next(run.read(Conversation))
    assert talk.tokens is not None
    grid = np.load(run.path / talk.tokens.path)
    assert grid.dtype == np.int16
    assert grid.shape == (2, 25)
    assert grid[0].tolist() == list(range(25))
    assert (grid[1] == 7).all()
    assert run.verify() == []
    np.save(run.path / talk.tokens.path, grid + 1)
    assert "tokens" in run.verify()[0]


class _Tokens(EchoSystem):
    def open(self, seed: int, sample_id: str | None = None) -> "_TokenSession":  # type: ignore[override]
        return _TokenSession()


class _TokenSession:
    def __init__(self) -> None:
        self._step = -1

    def step(self, frame: Audio) -> Step:
        self._step += 1
        return Step(frame, (), np.array([self._step, 7], np.int16))

    def close(self) -> None: ...


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_bench_goes_on_where_it_was(tmp_path: Path, sign: signal.Signals) -> None:
    """Kill the real command in the middle: the run is readable, and the same command finishes it."""
    out = tmp_path / "run"
    command = ["-m", "app.cli", "bench", "--system", "echo", "--limit", "4", "--asr", "none"]
    command += ["--clock", "real-time", "--tail", "0.5", "--repeats", "1", "--out", str(out)]
    first = stopped(command, r"conversations\.jsonl$", 4)
    ended(first, sign)
    talks = list(Run(out).read(Conversation))
    assert len(talks) == 3
    if sign == signal.SIGINT:
        assert Run(out).info.status == "interrupted"
        assert first.returncode == 130
    second = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    done = list(Run(out).read(Conversation))
    assert done[: len(talks)] == talks
    assert len({t.key for t in done}) == len(done) == 8
    assert Run(out).info.status == "done"
    assert Run(out).info.protocol.jitter_limit == FRAME
    worst = max(t.pacing.late_p99_ms for t in done if t.pacing)
    assert Run(out).info.pacing is not None
    assert Run(out).info.pacing.late_p99_ms == worst

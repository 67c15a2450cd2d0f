"""`duologue import`, `export` and `show`: others' talks as a run of ours, our runs for others, one talk to look at."""

import platform
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.options import as_json, jobs_option

if TYPE_CHECKING:
    from app.show import Terminal
    from eval.tasks.suite import Suite
    from protocols.runs import RunInfo
    from protocols.store import Run

LAYOUTS = ("fdb", "moshi-finetune")


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--as", "layout", type=click.Choice(LAYOUTS), required=True, help="How the folder is laid out.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run folder.")
@click.option("--system", default="imported", show_default=True, help="Name of the system that held the talks.")
@click.option("--asr", default="auto", show_default=True, help="For talks whose words the folder does not give.")
@jobs_option
@as_json
def import_run(folder: Path, layout: str, out: Path, system: str, asr: str, jobs: int | None, as_json: bool) -> None:
    """Make a scored run of finished talks: nothing is driven, their sounds are heard and scored."""
    from app.show import Terminal

    terminal = Terminal(as_json)
    run = imported(folder.expanduser(), layout, out, system, asr, terminal, jobs)
    from app.figures import figures

    found = figures(run)
    terminal.table(["metric", "figure [95 % interval]", "scored", "outcomes"], [f.row() for f in found])
    terminal.say(f"\nRun: {run.path}")
    terminal.result({"run": str(run.path), "system": system, "figures": [f.data() for f in found]})


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--as", "layout", type=click.Choice(["fdb"]), required=True, help="fdb: Full-Duplex-Bench's folders.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="An empty or new folder.")
@click.option("--take", type=click.IntRange(0), default=0, show_default=True, help="Which take of every sample.")
@as_json
def export_run(run: Path, layout: str, out: Path, take: int, as_json: bool) -> None:
    """Write a run in another benchmark's layout, so that its own scripts score it."""
    from app.show import Terminal
    from eval.export_fdb import export_fdb
    from protocols.store import Run

    terminal = Terminal(as_json)
    made = export_fdb(Run(run), out, take)
    terminal.say(f"{len(made.written)} talks written, {len(made.left_out)} left out")
    for sample, why in made.left_out.items():
        terminal.say(f"  {sample}: {why}")
    terminal.say(f"\nFolder: {out}")
    terminal.result({"out": str(out), **made._asdict()})


@click.command("show")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("sample")
@click.option("--take", type=click.IntRange(0), default=0, show_default=True, help="Which take of the sample.")
@click.option("--out", type=click.Path(path_type=Path), help="The page. [default: talks/SAMPLE.TAKE.html in the run]")
@as_json
def show_talk(run: Path, sample: str, take: int, out: Path | None, as_json: bool) -> None:
    """Draw one talk over time as a page: levels, speech, words, events and outcomes, with its sound."""
    from analysis.report.timeline import timeline
    from analysis.report.timeline_page import write_page
    from app.show import Terminal
    from protocols.records import Key
    from protocols.store import Run, file_name

    terminal = Terminal(as_json)
    made = timeline(Run(run), sample, take)
    page = write_page(made, out or run / "talks" / f"{file_name(Key(sample, take))}.html")
    terminal.say(f"Page: {page}")
    terminal.result({"page": str(page), "sound": str(made.sound)})


def imported(
    folder: Path, layout: str, out: Path, system: str, asr: str, terminal: "Terminal", jobs: int | None = None
) -> "Run":
    """The run of a folder's talks, heard by `jobs` processes (None: one per core) and scored; an interrupted import
    goes on where it was."""
    import msgspec

    from eval.hear_all import Ask, cores, listen, open_instruments
    from eval.import_run import import_talks, read_fdb, read_moshi, told_of
    from eval.score import score
    from eval.tasks.suite import load_suite
    from protocols.records import Conversation, Sample

    here = open_instruments(asr)
    suite = load_suite(f"{layout}:{folder}", here.detector)
    read = read_fdb(folder) if layout == "fdb" else read_moshi(folder)
    transcriber = here.transcriber.source if here.transcriber else "no transcriber"
    run = _run_for(out, _info(suite, system, (here.detector.source, transcriber, "words given where they are")))
    with run.writing() as writing:
        have = {sample.id for sample in run.read(Sample)}
        writing.append(*(sample for sample in suite.samples if sample.id not in have))
    with terminal.progress("reading", run.info.n_planned) as step:
        told = import_talks(run, system, suite.samples, read, step)

    def ask(talk: Conversation) -> Ask:
        return Ask(talk, told=told.get(talk.sample) or told_of(read(talk.sample)))

    with terminal.progress("hearing", run.info.n_planned) as step:
        listen(run, here, ask, step, jobs or cores(), partial(open_instruments, asr))
    score(run, suite.metrics)
    with run.writing() as writing:
        writing.update(msgspec.structs.replace(run.info, status="done"))
        writing.seal()
    return run


def _run_for(out: Path, info: "RunInfo") -> "Run":
    from protocols.errors import StoreError
    from protocols.store import Run

    if not (out / "run.json").exists():
        return Run.create(out, info)
    run = Run(out)
    if run.info.system != info.system or info.protocol.differences(run.info.protocol):
        raise StoreError(f"{out} holds another run; give another --out")
    return run


def _info(suite: "Suite", system: str, heard_by: tuple[str, ...]) -> "RunInfo":
    from eval.metrics import metric
    from protocols.runs import Protocol, RunInfo

    metrics = [metric(name) for name in dict.fromkeys(name for task in suite.tasks for name in task.metrics)]
    return RunInfo(
        system=system,
        system_version="unknown",
        protocol=Protocol(
            suite=suite.name,
            dataset_sha256=suite.sha256,
            repeats=1,
            seed=0,
            lead_in=0.0,
            tail=0.0,
            greeting="none",
            clock="real-time",
            listeners=heard_by,
            scorers=tuple(m.scorer for m in metrics),
        ),
        status="running",
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        n_planned=len(suite.samples),
        metrics=tuple(m.info for m in metrics),
        tasks=suite.metrics,
        versions={"python": platform.python_version(), "duologue": version("duologue")},
    )

"""The one command, `duologue`. Subcommands only read options and print; what they do lives in the modules they call,
which are imported when a command runs, so that `--help` is quick."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.align import align
from app.card import paper_card
from app.compare import compare
from app.demo_cli import demo
from app.exchange import export_run, import_run, show_talk
from app.listings import suites, systems
from app.options import (
    as_json,
    bench_options,
    decoding_option,
    guard_option,
    judge_options,
    sweep_option,
    talk_options,
)
from app.pairs_cli import pairs
from app.plan import plan
from app.serve import serve
from app.simulate_cli import simulate
from app.stimuli import stimuli
from app.study_cli import study
from app.training import train_base, train_codec
from protocols.errors import DuologueError, InputError
from protocols.secrets import without_secrets

if TYPE_CHECKING:
    from app.options import Sweep
    from app.show import Terminal

EPILOG = "Exit codes: 0 done, 1 a claim or threshold failed, 2 bad usage or input, 3 a system could not be reached."


def _terminal(as_json: bool) -> "Terminal":
    from app.show import Terminal

    return Terminal(as_json)


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Evaluate full-duplex spoken dialogue systems, align them, and show whether the aligned one is better.

    Start with `duologue demo`: a model talks, learns from its own faults, and is compared with what it was.
    """


@cli.command()
@click.option("--suite", help="Suite to run, see `duologue suites`. [default: quick; for tiny:... world; for "
              "recorded:DIR that folder]")  # fmt: skip
@click.option("--system", default="tiny:base", show_default=True, help="System to run (see `duologue systems`).")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/SUITE--SYSTEM]")
@sweep_option
@talk_options
@as_json
def bench(suite: str | None, system: str, out: Path | None, sweep: "Sweep | None", as_json: bool, **talk: Any) -> None:
    """Run one system on one suite: hold the talks, listen to them, score them.

    Run again after a stop, the same command goes on where it was.
    """
    from app.bench import bench as make
    from app.figures import print_figures
    from app.sweep import run_sweep

    if suite is None:
        kind, _, place = system.partition(":")
        suite = {"recorded": f"folder:{place}", "tiny": "world"}.get(kind, "quick")
    terminal = _terminal(as_json)
    options = bench_options(suite, system, out, talk)
    if sweep is not None:
        run_sweep(options, sweep, terminal)
    else:
        print_figures(make(options, terminal).run, terminal)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--scorer", "scorers", multiple=True, metavar="METRIC", help="Score by this one only, also if the "
              "run was made without it; can be given again. [default: all of the run]")  # fmt: skip
@click.option("--require", multiple=True, metavar="METRIC>=VALUE", help="Fail (exit code 1) unless it holds; also <=.")
@judge_options
@guard_option
@as_json
def score(run: Path, scorers: tuple[str, ...], require: tuple[str, ...], as_json: bool, **judge: Any) -> None:
    """Score a run again from what was heard, without touching sound or systems.

    With a judge, answers and safety are read by rules first and by the judge where they leave it open, and harm by the
    judge alone. Its replies are kept in the run, so nothing is asked twice.
    """
    from app.figures import print_figures
    from app.judging import REPLIES, options_of, spending
    from app.rescore import check, rescore
    from protocols.store import Run

    terminal, options = _terminal(as_json), options_of(judge)
    rescored = rescore(Run(run), scorers, options, terminal)
    spent = [judge._asdict() for judge in spending(rescored.path / REPLIES, options.price)]
    found = print_figures(rescored, terminal, {"judges": spent} if spent else {})
    check(require, found)


cli.add_command(demo)
cli.add_command(systems)
cli.add_command(suites)
cli.add_command(compare)
cli.add_command(stimuli)
cli.add_command(import_run)
cli.add_command(export_run)
cli.add_command(show_talk)
cli.add_command(plan)
cli.add_command(paper_card)
for command in (train_base, train_codec, pairs, align, serve, simulate, study):
    cli.add_command(command)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@as_json
def verify(run: Path, as_json: bool) -> None:
    """Check that no recording and no row of a run was changed since it was made."""
    from protocols.store import Run

    _terminal(as_json).unchanged("run", run, Run(run).verify())


@cli.command()
@click.option("--system", help="Hold one talk with this system and print latency, real-time factor, jitter and levels.")
@decoding_option
@as_json
def doctor(system: str | None, decoding: dict[str, float], as_json: bool) -> None:
    """Say what is installed, what is missing for which feature, and how to get it; or examine one system."""
    terminal = _terminal(as_json)
    if system is None:
        _print_checks(terminal)
        return
    from app.probe import probe

    examined = probe(system, decoding)
    terminal.table(["", system], examined.rows())
    terminal.result(examined.data())


def _print_checks(terminal: "Terminal") -> None:
    from app.doctor import checks

    found = checks()
    rows = [[c.feature, "yes" if c.ok else "no", c.found if c.ok else f"{c.found}: {c.get}"] for c in found]
    terminal.table(["feature", "there", "what, or how to get it"], rows)
    terminal.result([c._asdict() for c in found])
    if any(c.needed and not c.ok for c in found):
        raise InputError("something that every command needs is missing; see the table")


@cli.command()
@as_json
def version(as_json: bool) -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    terminal = _terminal(as_json)
    terminal.say(f"duologue {installed('duologue')}")
    terminal.result({"duologue": installed("duologue")})


def main() -> None:
    """Entry point: every error of ours ends in one line and its own exit code."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read by numpy; small products wait for a second thread
    try:
        cli(standalone_mode=False)
    except DuologueError as error:
        print(f"duologue: {without_secrets(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


if __name__ == "__main__":
    main()

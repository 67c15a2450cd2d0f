"""The one command, `duologue`. Subcommands only read options and print; what they do lives in the modules they call,
which are imported when a command runs, so that `--help` is quick."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.options import as_json, talk_options
from app.training import train_base, train_codec
from protocols.errors import ClaimFailed, DuologueError, InputError

if TYPE_CHECKING:
    from analysis.report.summarize import Summary
    from app.show import Terminal
    from protocols.store import Run

EPILOG = "Exit codes: 0 done, 1 a claim or threshold failed, 2 bad usage or input, 3 a system could not be reached."


def _terminal(as_json: bool) -> "Terminal":
    from app.show import Terminal

    return Terminal(as_json)


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Evaluate full-duplex spoken dialogue systems, align them, and show whether the aligned one is better.

    Start with `duologue demo`: it benchmarks two systems on spoken questions and writes a report.
    """


@cli.command()
@click.option("--systems", nargs=2, default=("scripted:late", "scripted:good"), show_default=True,
              help="The system to compare against, and the one to judge.")  # fmt: skip
@click.option("--questions", type=click.Path(path_type=Path), help="Folder with recordings and a TSV (Questions, "
              "Answer, Wav Filename); without it, the spoken set that comes with duologue.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Folder for both runs and the report. "
              "[default: runs/demo, or runs/demo-NAME for the questions in a folder NAME]")  # fmt: skip
@talk_options
@as_json
def demo(systems: tuple[str, str], questions: Path | None, out: Path | None, as_json: bool, **talk: Any) -> None:
    """Compare two systems on spoken questions and write a report."""
    from app.demo import run_demo

    terminal = _terminal(as_json)
    suite = "quick" if questions is None else f"questions:{questions}"
    out = out or Path("runs/demo" if questions is None else f"runs/demo-{questions.resolve().name}")
    made = run_demo(systems, _bench_options(suite, systems[0], None, talk), out, terminal)
    _print_claims(made.summary, terminal)
    if made.planted:
        terminal.say("")
        terminal.table(["planted in the scripts", "planted", "measured", "recovered"], [p.row() for p in made.planted])
    terminal.say(f"\nReport: {made.report}")
    planted = [{**p._asdict(), "recovered": p.recovered} for p in made.planted]
    terminal.result({**_claims_data(made.summary), "planted": planted, "report": str(made.report)})
    lost = [p.what for p in made.planted if not p.recovered]
    if lost:
        raise ClaimFailed("planted differences were not read back: " + ", ".join(lost))


@cli.command()
@click.option("--suite", help="Suite to run, see `duologue suites`. [default: quick; for recorded:DIR that folder]")
@click.option("--system", required=True, help="System to run (see `duologue systems`).")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/SUITE--SYSTEM]")
@talk_options
@as_json
def bench(suite: str | None, system: str, out: Path | None, as_json: bool, **talk: Any) -> None:
    """Run one system on one suite: hold the talks, listen to them, score them.

    Run again after a stop, the same command goes on where it was.
    """
    from app.bench import bench as make

    if suite is None:
        suite = f"folder:{system.partition(':')[2]}" if system.startswith("recorded:") else "quick"
    terminal = _terminal(as_json)
    run = make(_bench_options(suite, system, out, talk), terminal).run
    _print_figures(run, terminal)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--require", multiple=True, metavar="METRIC>=VALUE", help="Fail (exit code 1) unless it holds; also <=.")
@as_json
def score(run: Path, require: tuple[str, ...], as_json: bool) -> None:
    """Score a run again from what was heard, without touching sound or systems."""
    from app.rescore import check, rescore

    terminal = _terminal(as_json)
    rescored = rescore(run)
    found = _print_figures(rescored, terminal)
    check(require, found)


@cli.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the report. [default: the folder of B]")
@click.option("--force", is_flag=True, help="Compare although the protocols differ; the report says so.")
@click.option("--require", multiple=True, metavar="METRIC=VERDICT", help="Fail (exit code 1) unless B is that: better, "
              "worse, equivalent, undecided; `not-worse` also counts.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap and the permutations.")
@as_json
def compare(
    a: Path, b: Path, out: Path | None, force: bool, require: tuple[str, ...], seed: int, as_json: bool
) -> None:
    """Is run B better than run A? Paired by item; writes report.html and report.json."""
    from analysis.report.render import write_report
    from analysis.report.summarize import summarize
    from app.rescore import check_verdicts
    from protocols.store import Run

    terminal = _terminal(as_json)
    summary = summarize(Run(a), Run(b), force=force, seed=seed)
    report, twin = write_report(summary, out or b)
    _print_claims(summary, terminal)
    terminal.say(f"\nReport: {report}")
    terminal.result({**_claims_data(summary), "report": str(report), "twin": str(twin)})
    check_verdicts(require, summary)


@cli.command()
@as_json
def systems(as_json: bool) -> None:
    """List the systems that can be named."""
    from app.systems import KINDS

    terminal = _terminal(as_json)
    terminal.table(["system", "what it does"], list(KINDS.items()))
    terminal.result(dict(KINDS))


@cli.command()
@as_json
def suites(as_json: bool) -> None:
    """List the suites that can be named."""
    from eval.tasks.suite import SuiteSpec, shipped_suites
    from protocols.config import read_yaml

    terminal = _terminal(as_json)
    specs = [read_yaml(path, SuiteSpec) for path in shipped_suites().values()]
    rows = [(s.name, "; ".join(f"{t.name}: {', '.join(t.metrics)}" for t in s.tasks)) for s in specs]
    rows += [
        ("questions:DIR", "the quick suite on your own recordings (TSV: Questions, Answer, Wav Filename)"),
        ("folder:DIR", "the users of talks recorded elsewhere (left agent, right user)"),
        ("FILE.yaml", "a suite of your own, written like protocols/library/suites/quick.yaml"),
    ]
    terminal.table(["suite", "what it holds"], rows)
    terminal.result(dict(rows))


cli.add_command(train_base)
cli.add_command(train_codec)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@as_json
def verify(run: Path, as_json: bool) -> None:
    """Check that no recording and no row of a run was changed since it was made."""
    from protocols.store import Run

    terminal = _terminal(as_json)
    found = Run(run).verify()
    terminal.say("\n".join(found) if found else f"{run}: every file is as it was written")
    terminal.result({"run": str(run), "changed": found})
    if found:
        raise ClaimFailed(f"{run} is not as it was made")


@cli.command()
@as_json
def doctor(as_json: bool) -> None:
    """Say what is installed, what is missing for which feature, and how to get it."""
    from app.doctor import checks

    terminal = _terminal(as_json)
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


def _bench_options(suite: str, system: str, out: Path | None, talk: dict[str, Any]) -> Any:
    from app.bench import BenchOptions
    from eval.runner import DriveOptions

    asr, limit, decoding = talk.pop("asr"), talk.pop("limit"), talk.pop("decoding")
    return BenchOptions(suite, system, out, DriveOptions(**talk), asr, limit, decoding)


def _print_figures(run: "Run", terminal: "Terminal") -> list[Any]:
    from app.figures import figures

    found = figures(run)
    rows = [f.row() for f in found]
    terminal.table(["metric", "figure [95 % interval]", "items scored", "outcomes"], rows)
    terminal.say(f"\nRun: {run.path}")
    terminal.result({"run": str(run.path), "system": run.info.system, "figures": [f.data() for f in found]})
    return found


def _print_claims(summary: "Summary", terminal: "Terminal") -> None:
    from analysis.report.summarize import interval

    for warning in summary.warnings:
        terminal.say(f"Warning: {warning}")
    rows = []
    for c in summary.claims:
        r = c.result
        cells = [interval(e, c.metric) for e in (r.a, r.b, r.difference)] if r else ["no value"] * 3
        unit = "" if c.metric.unit == "share" else f" ({c.metric.unit})"
        rows.append([c.metric.title + unit, *cells, str(r.difference.n if r else 0), c.verdict])
    a, b = summary.a.label, summary.b.label
    terminal.table(["metric", a, b, "difference", "n", "verdict"], rows, title=f"Is {b} better than {a}?")


def _claims_data(summary: "Summary") -> dict[str, Any]:
    import msgspec

    claims = [
        {"metric": c.metric.name, "verdict": c.verdict, "sentence": c.sentence, "result": msgspec.to_builtins(c.result)}
        for c in summary.claims
    ]
    return {"a": summary.a.label, "b": summary.b.label, "claims": claims, "warnings": list(summary.warnings)}


def main() -> None:
    """Entry point: every error of ours ends in one line and its own exit code."""
    try:
        cli(standalone_mode=False)
    except DuologueError as error:
        print(f"duologue: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


if __name__ == "__main__":
    main()

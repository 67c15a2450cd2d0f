"""`duologue compare`: runs into verdicts, a report and an exit code.

With a claims file the exit code is the gate: 1 unless the primary metric is better, every claim ends as it says, and
harm is excluded where it must be. What only other rooms can make, such as scores under other thresholds, is made in
`app.extras`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.options import as_json
from protocols.errors import ClaimFailed

if TYPE_CHECKING:
    from analysis.report.summarize import Summary
    from app.printing import Form
    from app.show import Terminal


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN_A RUN_B [RUN...]", type=click.Path(path_type=Path))
@click.option("--claims", type=click.Path(path_type=Path), help="YAML with primary, claims, harms and slices; fails "
              "(exit code 1) unless they hold.")  # fmt: skip
@click.option("--control", multiple=True, type=click.Path(path_type=Path), help="Run of the base system told to talk "
              "more or less, or a folder of such runs; for the balance of dynamics.")  # fmt: skip
@click.option("--study", type=click.Path(path_type=Path), help="Folder with ratings.jsonl and talks.csv (talk, arm, "
              "scenario, duration): what people said.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the report. [default: that of the last run]")
@click.option("--force", is_flag=True, help="Compare although the protocols differ; the report says so.")
@click.option("--require", multiple=True, metavar="METRIC=VERDICT", help="Fail (exit code 1) unless every run is that: "
              "better, worse, equivalent, different, undecided; `not-worse` also counts.")  # fmt: skip
@click.option("--talks", type=click.IntRange(0, 50), default=4, show_default=True, help="Talks to show, of both runs.")
@click.option("--print", "forms", multiple=True, type=click.Choice(["pdf", "png"]), help="Draw the report as a file, "
              "too; needs Chromium.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap and the permutations.")
@as_json
def compare(
    runs: tuple[Path, ...], claims: Path | None, control: tuple[Path, ...], study: Path | None, out: Path | None,
    force: bool, require: tuple[str, ...], talks: int, forms: tuple["Form", ...], seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Are the other runs better than the first? Paired by item, corrected for the number of claims; writes
    report.html with its twins report.json, .csv, .md and .tex."""
    from analysis.report.plan import read_plan
    from analysis.report.summarize import failures, summarize
    from app.extras import control_runs, extras, write_with_pages
    from app.printing import browser, print_page
    from app.rescore import check_verdicts
    from app.show import Terminal
    from protocols.store import Run

    terminal = Terminal(as_json)
    program = browser() if forms else ""
    plan = None if claims is None else read_plan(claims)
    read = [Run(path) for path in runs]
    summary = summarize(read, plan, control_runs(control), force, seed, talks, extras(read, study, seed))
    report = write_with_pages(summary, read, out or runs[-1])
    print_claims(summary, terminal)
    terminal.say(f"\nReport: {report}")
    drawn = [str(path) for path in print_page(report, forms, program)]
    for path in drawn:
        terminal.say(f"Drawn: {path}")
    failed = failures(summary)
    twin = str(report.with_suffix(".json"))
    terminal.result({**claims_data(summary), "failed": failed, "report": str(report), "twin": twin, "drawn": drawn})
    check_verdicts(require, summary)
    if failed:
        raise ClaimFailed("; ".join(failed))


def print_claims(summary: "Summary", terminal: "Terminal") -> None:
    """The claims as tables: what was claimed, what merely differs, published rules."""
    for warning in (*summary.warnings, *summary.parity):
        terminal.say(f"Warning: {warning}")
    base, others = summary.sides[0].label, [side.label for side in summary.sides[1:]]
    question = f"{'Is' if len(others) == 1 else 'Are'} {' and '.join(others)} better than {base}?"
    _table(summary, ("primary", "claim", "harm"), question, terminal)
    _table(summary, ("neutral",), "\nNeither better nor worse", terminal)
    _table(summary, ("published",), "\nPublished rules and floors, without claims", terminal)


def _table(summary: "Summary", roles: tuple[str, ...], title: str, terminal: "Terminal") -> None:
    from analysis.report.words import interval, p_value

    several = len(summary.sides) > 2
    rows, empty = [], []
    for c in (c for c in summary.claims if c.role in roles):
        if (r := c.result) is None:
            empty.append(c.metric.title)
            continue
        name = c.metric.title + ("" if c.metric.unit == "share" else f" ({c.metric.unit})")
        cells = [interval(e, c.metric) for e in (r.a, r.b, r.difference)]
        said = "" if c.role == "published" else c.verdict
        rows.append([said, name, *([_short(c.arm)] if several else []), *cells, str(r.difference.n),
                     p_value(c.p_adjusted)])  # fmt: skip
    a, b = _short(summary.sides[0].label), "run" if several else _short(summary.sides[1].label)
    head = ["verdict", "metric", *(["system"] if several else []), a, b, "difference", "n", "p corrected"]
    if rows:
        terminal.table(head, rows, title=title)
    if empty:
        terminal.say(f"No item has a value in both: {'; '.join(dict.fromkeys(empty))}.")


def _short(label: str, most: int = 22) -> str:
    """The end of a long label, which is what tells systems apart."""
    return label if len(label) <= most else "…" + label[1 - most :]


def claims_data(summary: "Summary") -> dict[str, Any]:
    """The claims for machines."""
    import msgspec

    claims = [
        {"metric": c.metric.name, "arm": c.arm, "role": c.role, "verdict": c.verdict, "sentence": c.sentence,
         "p_adjusted": c.p_adjusted, "result": msgspec.to_builtins(c.result)}
        for c in summary.claims
    ]  # fmt: skip
    sides = [side.label for side in summary.sides]
    return {"a": sides[0], "b": sides[1], "arms": sides, "claims": claims,
            "warnings": [*summary.warnings, *summary.parity]}  # fmt: skip

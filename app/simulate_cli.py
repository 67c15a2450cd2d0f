"""`duologue simulate`: options of simulated users, and what is printed of their talks."""

from pathlib import Path
from typing import Any

import click

from app.options import as_json, clock_options, endpoint_options, hearing_options

RATE = click.FloatRange(0, 1)


def manner_options(command: Any) -> Any:
    """How often a user does what makes talking hard."""
    for option in reversed(
        [
            click.option("--pause", type=RATE, default=0.25, show_default=True, help="Turns with a pause inside."),
            click.option("--barge-in", type=RATE, default=0.2, show_default=True, help="Replies that are interrupted."),
            click.option("--backchannel", type=RATE, default=0.2, show_default=True,
                         help="Replies into which the user says mm-hmm and the like."),
            click.option("--filler", type=RATE, default=0.2, show_default=True, help='Turns that begin with "um".'),
            click.option("--repair", type=RATE, default=0.1, show_default=True,
                         help="Turns that are begun, taken back and said again."),
            click.option("--patience", type=click.FloatRange(1, 60), default=4.0, show_default=True,
                         help="Seconds without an answer before the user goes on."),
            click.option("--longest", type=click.FloatRange(5, 3600), default=90.0, show_default=True,
                         help="Seconds of a talk after which no turn is begun."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.option("--system", default="tiny:base", show_default=True, help="System to talk with.")
@click.option("--scenarios", default="world", show_default=True, help="A shipped set, or a YAML or JSONL file.")
@click.option("--talks", type=click.IntRange(1, 100_000), default=30, show_default=True, help="How many.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/simulate-SET--SYSTEM]")
@click.option("--speaker", default="espeak", show_default=True, help="The users' voices: espeak, kokoro:DIR, "
              "piper:FILE_OR_DIR, openai:MODEL or recorded:DIR.")  # fmt: skip
@click.option("--ears", type=click.Choice(["text", "asr"]), default="text", show_default=True,
              help="What users understand: the system's text stream, or what --asr makes of its sound.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Source of all chance.")
@click.option("--tail", type=click.FloatRange(0, 600), default=1.0, show_default=True,
              help="Seconds of silence after the talk.")  # fmt: skip
@manner_options
@endpoint_options("user", "Seconds for one try.")
@click.option("--prompt", default="persona", show_default=True, help="How a language model is told to play the user: "
              "a shipped prompt or a YAML file.")  # fmt: skip
@click.option("--turns", type=click.IntRange(1, 100), default=5, show_default=True,
              help="Most turns of a user that a language model plays.")  # fmt: skip
@clock_options
@hearing_options
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and what it may cost.")
@as_json
def simulate(system: str, scenarios: str, out: Path | None, as_json: bool, dry_run: bool, **given: Any) -> None:
    """Hold talks of several turns between a system and simulated users, and score them.

    Users speak what SCENARIOS has written, or (with --user-url and --user-model) what a language model says to reach
    the scenario's goal. Run again after a stop, the same command goes on where it was.
    """
    from app.show import Terminal
    from app.simulate import foresee, options_of, read_back, run_simulation

    terminal = Terminal(as_json)
    options = options_of(system, scenarios, out, given)
    if dry_run:
        plan = foresee(options)
        terminal.say("\n".join(plan.lines()))
        terminal.result(plan._asdict())
        return
    run = run_simulation(options, terminal)
    from app.figures import figures

    found = figures(run)
    terminal.table(["metric", "figure [95 % interval]", "items scored", "outcomes"], [f.row() for f in found])
    rates = read_back(run)
    terminal.say("")
    columns = ["users", "declared", "read back [95 % interval]", "of", "could not be done"]
    terminal.table(columns, [r.row() for r in rates])
    terminal.say(f"\nRun: {run.path}")
    terminal.result({"run": str(run.path), "system": system, "figures": [f.data() for f in found],
                     "users": [r._asdict() | {"inside": r.inside} for r in rates]})  # fmt: skip

"""`duologue align` and `duologue align sweep`. They only read options and print; what they do is in `app.alignment`,
`app.align_sweep` and `app.dry_run`, which are imported when a command runs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.options import as_json
from protocols.errors import InputError

if TYPE_CHECKING:
    from app.alignment import Aligned, Watch
    from model.align.config import AlignConfig
    from model.align.tables import Table

PAIRS_OF_A_SAMPLE = 3  # at most, of takes
FIGURES = {  # of the table at the end, as the journal names them
    "eval_loss": "validation loss",
    "eval_rewards/accuracies": "pairs ranked as wanted",
    "eval_rewards/margins": "margin",
    "eval_chosen_fell": "chosen that became less likely",
    "probe/spoke": "talks with a reply",
    "probe/right": "right answers",
    "probe/cut_in": "pauses cut into",
    "probe/yielded": "interruptions yielded to",
    "probe/endless": "talks without an end",
    "probe/latency": "first word after (s)",
    "probe/replay": "words of a reply",
    "probe/length": "words said over words due",
    "probe/wordless": "heard while it says nothing",
}


class WithDefault(click.Group):
    """A group that is itself a command: what names no subcommand goes to `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = args and args[0] in self.commands
        return super().parse_args(ctx, args if known else ["run", *args])


@click.group(cls=WithDefault)
def align() -> None:
    """Align a full-duplex model from preference pairs. `duologue align CONFIG.yaml` trains, `align sweep` compares."""


def _told(command: Any) -> Any:
    """Options that say what to do."""
    for option in reversed(
        [
            click.argument("config", required=False, type=click.Path(path_type=Path)),
            click.option("--preset", metavar="NAME", help="Begin with these settings: paper (Moshi, as published), "
                         "tiny or sdpo (the embedded model on a processor); CONFIG lies over them."),
            click.option("--set", "sets", multiple=True, metavar="SECTION.KEY=VALUE", help="Over both, such as "
                         "loss.beta=0.1, data.pairs=DIR or run.folder=DIR."),
            click.option("--probe-talks", type=click.IntRange(1, 64), default=16, show_default=True,
                         help="Talks held with the model every run.probe_every steps."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@align.command(name="run", epilog="`duologue align sweep --help`: several trainings and one table. Several processes: "
               "`torchrun --nproc-per-node 2 -m app.cli align CONFIG.yaml`; with `--set model.shard=true` each holds a "
               "share of the model.")  # fmt: skip
@_told
@click.option("--dry-run", is_flag=True, help="Say what it would take (parameters, memory, work per pair) and stop.")
@click.option("--rounds", "n_rounds", type=click.IntRange(1), help="So many times: the model talks, its better takes "
              "are set before its worse ones, it is aligned. data.pairs is then each round's own.")  # fmt: skip
@click.option("--suite", default="learn:world", show_default=True, help="Of --rounds: whom it talks to.")
@click.option("--takes", type=click.IntRange(2), default=4, show_default=True, help="Of --rounds: talks per sample.")
@click.option("--limit", type=click.IntRange(1), help="Of --rounds: samples of each task. [default: all]")
@click.option("--tensorboard", is_flag=True, help="Write FOLDER/tensorboard too; needs the extra `tensorboard`.")
@as_json
def run(
    config: Path | None, preset: str | None, sets: tuple[str, ...], probe_talks: int, dry_run: bool,
    n_rounds: int | None, suite: str, takes: int, limit: int | None, tensorboard: bool, as_json: bool,
) -> None:  # fmt: skip
    """Align a full-duplex model from preference pairs; goes on where it was stopped.

    Writes the model, its curves and a line of figures per step into run.folder. The model talks as `tiny:FOLDER/model`.
    """
    from app.show import Terminal

    terminal = Terminal(as_json)
    told = _config(config, preset, sets)
    if dry_run:
        from app.dry_run import dry_run as show

        show(told, terminal)
        return
    if n_rounds is not None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError(
                "rounds hold talks and run in one process; align each round's pairs under torchrun instead"
            )
        _rounds(told, n_rounds, suite, takes, limit, terminal, _watch(told, probe_talks, tensorboard))
        return
    from app.alignment import align as make
    from model.align.workers import workers

    with workers() as group:
        made = make(told, terminal, _watch(told, probe_talks, tensorboard, group.leads), workers=group)
    if group.leads:
        _print(made, terminal)


def _rounds(
    told: "AlignConfig", n: int, suite: str, takes: int, limit: int | None, terminal: Any, watch: "Watch"
) -> None:
    from app.bench import BenchOptions
    from app.rounds import RoundOptions, rounds
    from eval.runner import DriveOptions

    talks = BenchOptions(suite, told.model.base, None, DriveOptions(repeats=takes), "none", limit)
    made = None
    for made in rounds(told, n, RoundOptions(talks), terminal, watch):
        terminal.say(f"Round of {made.pairs} pairs: {made.system}")
    if made is not None:
        _print(made.made, terminal)


@align.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option("--seconds", type=click.FloatRange(2), default=8.0, show_default=True, help="Of the talk before a reply.")
@as_json
def hindsight(runs: tuple[Path, ...], out: Path, seconds: float, as_json: bool) -> None:
    """Gather replies and the user's next words from talks, for `--preset sdpo`: no pairs, no judge.

    RUNS are folders of talks with a user who reacts, such as `duologue simulate` makes, of a system with tokens.
    """
    from app.align_hindsight import gather
    from app.show import Terminal

    gather(runs, out, seconds, Terminal(as_json))


@align.command()
@_told
@click.option("--table", type=click.Choice(["streams", "losses", "beta", "data"]), help="One of the paper's tables.")
@click.option("--vary", metavar="SECTION.KEY=V,V,...", help="Or the values of one setting, such as loss.beta=0.1,0.3.")
@click.option("--knob", "knobs", multiple=True, metavar="LOSS.KEY=VALUE", help="Of --table losses: a row's own, as "
              "dpo.beta=1.")  # fmt: skip
@click.option("--judge", metavar="SUITE", help="Then every row's models talk to this suite's users, such as "
              "judge:world, and one report sets them beside the base and the base told to talk more.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Of --judge: trainings of a row, "
              "each talked with over the whole suite; more can be asked for later.")  # fmt: skip
@click.option("--faultless", metavar="SYSTEM", help="Of --judge: a model trained without faults beside the rows "
              "(`duologue train-base --no-faults`), for what it does wrong as well cannot be mended.")  # fmt: skip
@click.option("--judge-limit", type=click.IntRange(1), help="Of --judge: samples of each task. [default: all]")
@click.option("--takes", type=click.IntRange(2), help="Of --judge: pairs are made of so many takes of the base's own "
              "on --suite, in place of data.pairs.")  # fmt: skip
@click.option("--suite", default="learn:world", show_default=True, help="Of --takes: whom the base talks to.")
@click.option("--limit", type=click.IntRange(1), help="Of --takes: samples of each task. [default: all]")
@click.option("--jobs", type=click.IntRange(1), help="Of --judge: processes that listen. [default: one per core]")
@as_json
def sweep(
    config: Path | None, preset: str | None, sets: tuple[str, ...], probe_talks: int, table: "Table | None",
    vary: str | None, knobs: tuple[str, ...], judge: str | None, seeds: int, faultless: str | None,
    judge_limit: int | None, takes: int | None, suite: str, limit: int | None, jobs: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Train once per row of a table and end in one comparison. A stopped sweep goes on where it was.

    Every row is an ordinary training in a folder of its own under run.folder. Beside the rows stand the base model
    and, for losses and beta, a control that only learns the chosen replies by heart.
    """
    from app.align_sweep import rows_of, run_sweep
    from app.show import Terminal

    if (table is None) == (vary is None):
        raise click.UsageError("give --table or --vary")
    if takes is not None and judge is None:
        raise click.UsageError("--takes needs --judge: its rows are judged by how they talk")
    told, terminal = _config(config, preset, sets), Terminal(as_json)
    rows = rows_of(told, table, vary, knobs)
    if judge is None:
        run_sweep(rows, Path(told.run.folder), table or str(vary), terminal, _watch(told, probe_talks))
        return
    from app.align_judged import JudgedOptions, run_judged
    from app.bench import BenchOptions
    from app.rounds import RoundOptions
    from eval.runner import DriveOptions

    judged = BenchOptions(judge, told.model.base, None, DriveOptions(), "none", judge_limit, jobs=jobs)
    talks = judged._replace(suite=suite, limit=limit, drive=DriveOptions(repeats=takes or 1))
    options = JudgedOptions(judged, seeds, None if takes is None else RoundOptions(talks, PAIRS_OF_A_SAMPLE), faultless)
    run_judged(told, rows, options, terminal, _watch(told, probe_talks))


def _config(path: Path | None, preset: str | None, sets: tuple[str, ...]) -> "AlignConfig":
    from model.align.config import read_config

    if path is None and preset is None:
        raise click.UsageError("give CONFIG.yaml or --preset paper|tiny|sdpo")
    return read_config(path, preset, sets)


def _watch(config: "AlignConfig", n_talks: int, tensorboard: bool = False, leads: bool = True) -> "Watch":
    from app.alignment import Watch, resolved

    if not config.run.probe_every or not leads:
        return Watch(None, tensorboard)
    from app.align_probe import probe_of
    from model.tiny.codec import load_codec

    return Watch(probe_of(Path(resolved(config).model.base), load_codec(), n_talks), tensorboard)


def _print(made: "Aligned", terminal: Any) -> None:
    before, after = made.line(0), made.line(made.best_step)
    rows = [
        [title, _figure(before.get(name)), _figure(after.get(name))]
        for name, title in FIGURES.items()
        if name in before or name in after
    ]
    terminal.table(["figure", "before", f"after step {made.best_step}"], rows)
    terminal.say(f"\nModel:  {made.model}\nCurves: {made.page}\nLog:    {made.folder / 'metrics.jsonl'}")
    terminal.result({
        "model": str(made.model), "curves": str(made.page), "steps": made.step, "best_step": made.best_step,
        "before": before, "after": after,
    })  # fmt: skip


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"

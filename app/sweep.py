"""One run per value of a decoding option, and what each metric becomes: the control for "it just talks more".

Alignment can raise a figure merely by making a model talk more, or less. A base model does that too when its padding
bias is turned; so a gain only counts where it lies above what the base gets over the sweep. Every run is an ordinary
one in its own folder, so `compare` and `score` work on each, and a stopped sweep goes on where it was.
"""

from collections.abc import Sequence
from pathlib import Path

from app.bench import BenchOptions, bench, default_out
from app.figures import Figure, figures
from app.options import Sweep
from app.show import Terminal
from protocols.errors import InputError
from protocols.store import Run


def run_sweep(options: BenchOptions, sweep: Sweep, terminal: Terminal) -> list[Run]:
    """Make (or finish) every run of a sweep and print them side by side."""
    if sweep.key in options.decoding:
        raise InputError(f"{sweep.key} is given by --decoding and by --sweep; drop one")
    folder = options.out or default_out(options, f"{options.suite}-{sweep.key}")
    runs = []
    for value in sweep.values:
        name = f"{sweep.key}={value:g}"
        terminal.note(name)
        decoding = {**options.decoding, sweep.key: value}
        runs.append(bench(options._replace(decoding=decoding, out=folder / name), terminal).run)
    _print(sweep, folder, [figures(run) for run in runs], terminal)
    return runs


def _print(sweep: Sweep, folder: Path, made: Sequence[Sequence[Figure]], terminal: Terminal) -> None:
    rows = [[same[0].metric.title, *(figure.row()[1] for figure in same)] for same in zip(*made, strict=True)]
    terminal.table([sweep.key, *(f"{value:g}" for value in sweep.values)], rows)
    terminal.say(f"\nRuns: {folder}")
    points = [
        {"value": value, "run": str(folder / f"{sweep.key}={value:g}"), "figures": [figure.data() for figure in row]}
        for value, row in zip(sweep.values, made, strict=True)
    ]
    terminal.result({"key": sweep.key, "points": points})

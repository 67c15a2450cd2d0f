"""`duologue demo`: two systems on spoken questions, compared, in one command.

With the scripted pair the truth is known, so the table shows what was planted beside what was measured, and the
command fails if they disagree by more than the instruments' own error.
"""

from pathlib import Path
from statistics import median
from typing import NamedTuple

from analysis.report.summarize import Summary, summarize
from analysis.tables import pair
from app.bench import Benched, BenchOptions, bench
from app.extras import extras, write_with_pages
from app.show import Terminal
from model.systems.behaviour import BEHAVIOURS, Plan
from protocols.duplex import FRAME
from protocols.records import Score
from protocols.store import Run


class Planted(NamedTuple):
    """A difference that was put into a system, and what was read back."""

    what: str
    planted: float
    measured: float | None
    tolerance: float
    unit: str

    @property
    def recovered(self) -> bool:
        return self.measured is not None and abs(self.measured - self.planted) <= self.tolerance + 1e-9

    def row(self) -> list[str]:
        scale, digits = (100.0, 1) if self.unit == "%" else (1.0, 3)
        measured = "nothing" if self.measured is None else f"{scale * self.measured:.{digits}f} {self.unit}"
        planted = f"{scale * self.planted:.{digits}f} {self.unit}"
        return [self.what, planted, measured, "yes" if self.recovered else "no"]


class Demo(NamedTuple):
    summary: Summary
    report: Path
    planted: list[Planted]


def run_demo(names: tuple[str, str], options: BenchOptions, out: Path, terminal: Terminal) -> Demo:
    """Bench both systems, compare the second with the first, write the report into `out`."""
    benched = []
    for name in names:
        terminal.note(f"system {name}")
        folder = out / name.replace(":", "-").replace("/", "-")
        benched.append(bench(options._replace(system=name, out=folder), terminal))
    first, second = benched
    runs = [first.run, second.run]
    summary = summarize(runs, extras=extras(runs, None, 0))
    return Demo(summary, write_with_pages(summary, runs, out), planted(names, first, second))


def planted(names: tuple[str, str], first: Benched, second: Benched) -> list[Planted]:
    """What is known of a scripted pair; nothing if either system is not scripted."""
    if first.plan is None or second.plan is None:
        return []
    a, b = (BEHAVIOURS[name.partition(":")[2]] for name in names)
    found = [
        Planted("latency, second minus first", b.latency - a.latency, _difference(first.run, second.run), FRAME, "s")
    ]
    return found + _rates(names[0], first.run, first.plan) + _rates(names[1], second.run, second.plan)


def _difference(first: Run, second: Run) -> float | None:
    """Median difference over the items both answered after the turn."""
    paired = pair(first.read(Score), second.read(Score), "timing.latency")
    return median((paired.b - paired.a).tolist()) if paired.items else None


def _rates(name: str, run: Run, plan: Plan) -> list[Planted]:
    """Shares of items with a fault, planted and read back."""
    out = []
    for metric, faulty, what in (
        ("timing.pause_held", plan.cuts_in, "cuts into pauses"),
        ("qa.text", plan.wrong, "wrong answers"),
    ):
        scores = [s for s in run.read(Score) if s.metric == metric]
        if scores:
            planted_share = sum(s.sample in faulty for s in scores) / len(scores)
            measured = sum(s.value == 0 for s in scores) / len(scores)
            out.append(Planted(f"{what}, {name}", planted_share, measured, 0.0, "%"))
    return out

"""The balance of dynamics: what a run does in time (how much it talks, how soon, whether it yields) against what it is
worth (answers, safety), and its timing against how much it talks, every run a point with intervals in both directions.

Control runs are the same base system told to talk more or less by a decoding option. A gain that lies on their line is
a gain in talkativeness; one that lies above it is more than that.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from analysis.paired import Estimate, mean_estimate
from analysis.report.measure import Grouped
from analysis.report.plan import HUMAN
from analysis.tables import latest
from protocols.records import MetricInfo

# What a talk is like; the order is that of the figure's columns.
DYNAMICS = (
    "timing.replay_length", "timing.talk_share_agent", "timing.latency", "timing.pause_held", "timing.yielded",
    "timing.floor_choice", "timing.backchannel_rate", "timing.overlap",
)  # fmt: skip
WORTH = ("qa.speech", "qa.text", "safety.right.speech", "safety.right.text")
EACH = 3  # rows at most
AMOUNT = (
    "timing.replay_length",
    "timing.replay_length.words",
    "timing.talk_share_agent",
)  # how much it talks, best first
TIMELY = (
    "timing.answered",
    "timing.pause_held",
    "timing.cut_in",
    "timing.yielded",
    "timing.floor_choice",
    "timing.cost",
)
READ = {*DYNAMICS, *WORTH, *AMOUNT, *TIMELY}


class BalancePoint(msgspec.Struct, frozen=True):
    run: str
    control: bool
    x: Estimate
    y: Estimate


class Panel(msgspec.Struct, frozen=True):
    """One figure against another, a point per run."""

    x: MetricInfo
    y: MetricInfo
    points: tuple[BalancePoint, ...]


class Arm(msgspec.Struct, frozen=True):
    """One run's figures by metric."""

    name: str
    control: bool
    figures: dict[str, Estimate]


def arm_figures(name: str, control: bool, metrics: Sequence[MetricInfo], scores: Grouped, seed: int) -> Arm:
    """The means of the metrics that the balance looks at."""
    found = {}
    for info in metrics:
        if info.name not in READ:
            continue
        rows = [s for s in latest(scores.get(info.name, []), info.name).values() if s.value is not None]
        values = np.array([s.value for s in rows], dtype=np.float64)
        estimate = mean_estimate(values, [s.cluster or s.sample for s in rows], info.kind == "binary", seed)
        if estimate is not None:
            found[info.name] = estimate
    return Arm(name, control, found)


def panels(metrics: Mapping[str, MetricInfo], arms: Sequence[Arm]) -> tuple[Panel, ...]:
    """Every dynamic against every worth that at least two runs have (the first of each family of benchmarks, and
    people's ratings), then every timely figure against how much a run talks."""
    ys = [name for name in (*WORTH, *_human(metrics)) if name in metrics and sum(name in a.figures for a in arms) > 1]
    families: dict[str, str] = {}
    for name in ys:
        families.setdefault(name if name.startswith(HUMAN) else name.partition(".")[0], name)
    wanted = [(x, y) for y in list(families.values())[:EACH] for x in DYNAMICS]
    amount = next((x for x in AMOUNT if x in metrics and sum(x in a.figures for a in arms) > 1), None)
    if amount is not None:
        wanted += [(amount, y) for y in TIMELY]
    return _panels(metrics, arms, wanted)


def agreeing(metrics: Mapping[str, MetricInfo], arms: Sequence[Arm]) -> tuple[Panel, ...]:
    """Benchmarks across, people's ratings upwards, for at least two runs."""
    return _panels(metrics, arms, [(x, y) for y in _human(metrics)[:EACH] for x in WORTH])


def _human(metrics: Mapping[str, MetricInfo]) -> list[str]:
    return [name for name in metrics if name.startswith(HUMAN)]


def _panels(
    metrics: Mapping[str, MetricInfo], arms: Sequence[Arm], wanted: Sequence[tuple[str, str]]
) -> tuple[Panel, ...]:
    out = []
    for x, y in wanted:
        both = [a for a in arms if x in a.figures and y in a.figures]
        if x in metrics and y in metrics and len(both) > 1:
            points = tuple(BalancePoint(a.name, a.control, a.figures[x], a.figures[y]) for a in both)
            out.append(Panel(metrics[x], metrics[y], points))
    return tuple(out)

"""What `duologue pairs build` and `from-preferences` do: names on the command line to a dataset, and what it will cost.

A worker process makes its own workshop from the same names, so nothing but names travels between processes.
"""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from analysis.agreement import kappa
from analysis.estimates import Undefined
from app.judging import REPLIES, Spending, spending
from app.pairs_grid import AUTO, Grid, grid_of
from app.pairs_live import LiveTalks, is_live
from app.pairs_parts import Judging, Staffed, staff
from app.pairs_people import read_people
from app.show import Terminal
from eval.activity import SileroActivity
from eval.pairs.build import SHARD, SLOW_SHARD, Workshop, build
from eval.pairs.card import write_card
from eval.pairs.choices import build_choices, build_preferred, read_choices
from eval.pairs.dataset import Dataset, finish
from eval.pairs.faults import SOURCE as FAULTS
from eval.pairs.folder import FolderTalks
from eval.pairs.marks import read_marks
from eval.pairs.revoice import Revoiced
from eval.pairs.runs import RunTalks
from eval.pairs.settings import PairSettings
from eval.pairs.source import Chained, MarkedTalks, Source
from eval.pairs.stats import stats_of
from eval.pairs.synthetic import SyntheticTalks
from eval.pairs.takes import Take, judged_takes, preferences
from eval.speakers import open_speaker
from eval.words import Aligner, load_transcriber
from protocols.errors import InputError

SYNTHETIC = "synthetic:"
KEPT = "kept"


class BuildOptions(NamedTuple):
    """A build, in names and numbers."""

    sources: tuple[str, ...]
    out: Path
    judging: Judging = Judging()
    marks: Path | None = None
    ratings: Path | None = None
    asr: str = "none"
    layout: str = AUTO
    user_voice: str = KEPT
    settings: PairSettings = PairSettings()
    workers: int = 1


def build_pairs(options: BuildOptions, talks: int, terminal: Terminal) -> Dataset:
    """Build (or finish) a dataset of so many talks, and write its card."""
    if options.judging.judge == "llm" and options.workers > 1:
        raise InputError("a language model is asked by one process: drop --workers, and set --judge-concurrency")
    shard = SHARD if (options.user_voice, options.asr) == (KEPT, "none") else SLOW_SHARD
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of worker processes: they are the parallelism
    with terminal.progress("talks", talks) as step:
        parts = build(partial(workshop, options), options.out, options.workers, shard=shard, progress=step)
    finish(options.out, parts)
    return carded(Dataset(options.out))


def build_preferences(choices: Path, options: BuildOptions) -> Dataset:
    """A dataset of people's choices, and its card."""
    shop = workshop(options)
    build_choices(read_choices(choices), shop.source, options.out, shop.parts, options.settings)
    return carded(Dataset(options.out))


def carded(dataset: Dataset) -> Dataset:
    """The dataset, with its card written."""
    write_card(dataset, stats_of(dataset), [a.text() for a in agreements(dataset)])
    return dataset


def build_takes(options: BuildOptions, most: int, terminal: Terminal) -> Dataset:
    """A dataset of each sample's takes before those with more faults, and its card."""
    shop, takes = workshop(options), list[Take]()
    with terminal.progress("talks", sum(1 for _ in shop.source.names())) as step:
        for take in judged_takes(shop.source, shop.parts, options.settings):
            takes.append(take)
            step(len(takes))
    by = shop.parts.critic.source if shop.parts.critic else FAULTS
    if not (found := preferences(takes, by, most)):
        raise InputError(
            f"none of {len(takes)} talks has more faults than another of its sample; "
            "hold several takes of each (`bench --repeats 4`) with a decoding that leaves room for chance"
        )
    build_preferred(found, shop.source, options.out, shop.parts, options.settings)
    return carded(Dataset(options.out))


def workshop(options: BuildOptions) -> Workshop:
    """Sources, judge and voice by their names."""
    talks = sources(options)
    made = staffed(options, talks)
    settle = None if made.desk is None else made.desk.settle
    return Workshop(talks.source, made.parts, options.settings, settle)


class Talks(NamedTuple):
    """Where the talks come from, names and versions of the systems in them as far as they are known, and their grid."""

    source: Source
    systems: list[str]
    grid: Grid


def staffed(options: BuildOptions, talks: Talks) -> Staffed:
    """Who judges, writes and speaks."""
    synthetic = all(name.startswith(SYNTHETIC) for name in options.sources)
    return staff(options.judging, options.out, talks.systems, talks.grid, synthetic)


def sources(options: BuildOptions) -> Talks:
    """Open everything that talks come from."""
    people = read_people(options.ratings, options.settings)
    marks = dict(read_marks(options.marks)) if options.marks is not None else {}
    for talk, of in people.marks.items():
        marks[talk] = (*marks.get(talk, ()), *of)
    made = [_source(name, options, people.raters) for name in options.sources]
    infos = [source.run.info for source in made if isinstance(source, RunTalks)]
    systems = [text for info in infos for text in (info.system, info.system_version)]
    systems += [system for source in made if isinstance(source, LiveTalks) for system in source.systems]
    grid = grid_of(systems, options.layout, any(name.startswith(SYNTHETIC) for name in options.sources))
    source = made[0] if len(made) == 1 else Chained(made)
    if marks:
        source = MarkedTalks(source, marks)
    if options.user_voice != KEPT:
        source = Revoiced(source, open_speaker(options.user_voice), Aligner(), grid.layout, grid.encode)
    return Talks(source, systems, grid)


def _source(name: str, options: BuildOptions, raters: Mapping[str, str]) -> Source:
    if name.startswith(SYNTHETIC):
        count = name.removeprefix(SYNTHETIC)
        if not count.isdecimal() or not int(count):
            raise InputError(f"{name!r} names no number of talks; write synthetic:1000")
        return SyntheticTalks(int(count), options.settings.seed)
    path = Path(name).expanduser()
    if (path / "run.json").is_file():
        return RunTalks(path, options.settings)
    transcriber = None if options.asr == "none" else load_transcriber(options.asr)
    if is_live(path):
        return LiveTalks(path, SileroActivity(), transcriber, options.settings, raters)
    return FolderTalks(path, SileroActivity(), transcriber, options.settings)


class Agreement(NamedTuple):
    """How far people and a judge (the critic, or the program) agree on an axis, in the talks that somebody marked."""

    axis: str
    judge: str
    kappa: float | None
    low: float | None
    high: float | None
    turns: int  # of the agent; of timing by program: acts of the user
    talks: int
    why: str = ""  # there is no figure, or no interval

    def text(self) -> str:
        if self.kappa is None:
            return f"{self.axis}, {self.judge}: no kappa ({self.why}; {self.turns} turns)"
        interval = f" ({self.why})" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.axis}, {self.judge}: kappa {self.kappa:.2f}{interval}, {self.turns} turns of {self.talks} talks"


def agreements(dataset: Dataset) -> list[Agreement]:
    """Cohen's kappa by axis and judge, its interval over talks; none without marks."""
    rows = list(dataset.marked())
    found = []
    for axis, judge in dict.fromkeys((row.axis, row.source) for row in rows):
        of = [row for row in rows if (row.axis, row.source) == (axis, judge)]
        talks = [row.talk for row in of]
        k = kappa([int(r.person) for r in of], [int(r.critic) for r in of], units=talks)
        n = len(set(talks))
        if isinstance(k, Undefined):
            found.append(Agreement(axis, judge, None, None, None, len(of), n, k.why))
        else:
            found.append(Agreement(axis, judge, k.value, k.low, k.high, len(of), n, k.why or ""))
    return found


def spent(options: BuildOptions) -> list[Spending]:
    """What a language model took for this dataset so far."""
    return spending(options.out / REPLIES, options.judging.llm.price)

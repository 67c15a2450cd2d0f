"""What a report needs from several rooms: other thresholds, how far readers agree, a page per shown talk."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from analysis.report.people import read_study
from analysis.report.render import write_report
from analysis.report.summarize import Extras, Summary, labels_of
from analysis.report.timeline import timelines
from analysis.report.timeline_page import write_page
from analysis.sweep import Sweep, SweepRow, sweep
from eval.metrics.timing import FIGURES
from eval.metrics.timing.settings import TimingSettings
from eval.metrics.timing.sweep import over_takeover_seconds, over_takeover_words, over_yield_window, swept
from eval.refusal import agreement
from eval.score import scores_by
from protocols.errors import InputError
from protocols.records import Key, Sample
from protocols.store import Run

SECONDS = (0.3, 0.5, 1.0, 1.5, 2.0, 3.0)
WORDS = (0, 1, 2, 3, 5, 8)
WINDOWS = (0.5, 1.0, 1.5, 2.0, 3.0)
LARGEST = 20_000  # talks of a run up to which thresholds are swept


class Swept(NamedTuple):
    """A threshold a report turns, and the figure it moves."""

    figure: str
    event: str  # the kind of event a suite must have for it
    thresholds: Sequence[float]
    settings: Sequence[TimingSettings]
    what: str  # the threshold, with its unit


SWEPT = (
    Swept(
        "timing.pause_held", "pause", SECONDS, over_takeover_seconds(SECONDS), "seconds of speech that take the floor"
    ),
    Swept("timing.pause_held", "pause", WORDS, over_takeover_words(WORDS), "words that are still a backchannel"),
    Swept(
        "timing.yielded", "interruption", WINDOWS, over_yield_window(WINDOWS), "seconds in which a stop is a reaction"
    ),
)


def extras(runs: Sequence[Run], study: Path | None, seed: int) -> Extras:
    """Sweeps where the suite has events, the refusal reader's agreement where it was used, a study where given."""
    names = {m.name for run in runs for m in run.info.metrics}
    return Extras(
        sweeps=tuple(_sweeps(runs, seed)),
        quality=(agreement(),) if any(n.startswith("safety.") for n in names) else (),
        people=None if study is None else read_study(study, seed),
    )


def _sweeps(runs: Sequence[Run], seed: int) -> Iterator[Sweep]:
    kinds = {e.kind for s in runs[0].read(Sample) for e in s.events}
    if runs[0].info.n_planned > LARGEST:
        return
    scored = set.intersection(*({m.name for m in run.info.metrics} for run in runs))
    for made in SWEPT:
        if made.event not in kinds or made.figure not in scored:
            continue
        figure = FIGURES[made.figure]
        metrics = swept(figure, made.settings)
        at = {m.scorer: t for m, t in zip(metrics, made.thresholds, strict=True)}
        rows = [
            SweepRow(label, at[s.scorer], f"{s.sample}.{s.take}.{s.event}", s.value, s.cluster or s.sample)
            for run, label in zip(runs, labels_of(runs), strict=True)
            for s in scores_by(run, metrics)
        ]
        if rows:
            yield sweep(rows, figure.title, made.what, seed)


def control_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs named, or the runs in the folders named."""
    found = []
    for path in paths:
        inside = [path] if (path / "run.json").exists() else sorted(p.parent for p in path.glob("*/run.json"))
        if not inside:
            raise InputError(f"{path} is neither a run nor a folder of runs")
        found += [Run(p) for p in inside]
    return found


def write_with_pages(summary: Summary, runs: Sequence[Run], folder: Path) -> Path:
    """The report, and in `talks/` beside it a timeline of every talk it shows; the report's path."""
    pages = {}
    for run, side in zip(runs, summary.sides, strict=True):
        keys = [Key(t.sample, t.take) for t in summary.talks if t.arm == side.label]
        for key, made in timelines(run, keys).items():
            name = f"{side.label}--{key.sample}.{key.take}.html".replace("/", "-").replace(":", "-")
            pages[side.label, key.sample, key.take] = write_page(made, folder / "talks" / name)
    return write_report(summary, folder, pages)

"""A whole report at full size: a million scores of two runs and a hundred thousand ratings through `duologue compare`.

`python -m benchmarks.report [FOLDER [SCORES RATINGS]]` keeps the runs, the study and the report in FOLDER. Scores are
of the metrics of a real suite (timing by sound and by words, answers), one in twelve without a value; raters differ in
level and in how they take the difference. All talks share one recording, because the report only draws a few.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eval.metrics import METRICS
from protocols.base import to_json
from protocols.records import (
    Activity,
    Conversation,
    Event,
    Key,
    Listening,
    MetricInfo,
    Rating,
    Sample,
    Score,
    Transcript,
    Word,
)
from protocols.runs import Protocol, RunInfo
from protocols.store import Run, Writing
from protocols.timeline import Span

NAMES = ("timing.latency", "timing.pause_held", "timing.yielded", "timing.floor_choice", "qa.speech", "qa.text")
ALSO = (".words", ".overlay")
DURATIONS = (30, 60, 120)
SCENARIOS = ("directions", "smalltalk", "trivia", "bookings", "stories", "news")
AXES = ("coherence", "engagement", "relevance")
SECONDS, MEGABYTES = 60, 4_000  # aims


def metrics() -> list[MetricInfo]:
    """The cards of real metrics, with their second readings."""
    names = [n for name in NAMES for n in (name, *(name + end for end in ALSO)) if n in METRICS]
    others = [n for n in METRICS if n.startswith("timing.") and n not in names]
    return [METRICS[n].info for n in [*names, *others[: 20 - len(names)]]]


def make_runs(folder: Path, scores: int) -> list[Path]:
    """Two runs with `scores` scores in all; the second is better in half of the metrics."""
    cards = metrics()
    samples = max(scores // (2 * len(cards)), 1)
    rng = np.random.default_rng(0)
    level = rng.normal(0, 1, samples)
    made = []
    for side, label in enumerate(("base", "aligned")):
        protocol = Protocol(
            "made", "0" * 64, 1, 0, 0.96, 4.0, "none", "simulated", scorers=tuple(c.name for c in cards)
        )
        info = RunInfo(label, "1", protocol, "done", "2026-01-01T00:00:00+00:00", samples, tuple(cards))
        run = Run.create(folder / label, info)
        with run.writing() as writing:
            _talks(writing, samples, label, rng)
            for i, card in enumerate(cards):
                writing.append(*_scores(card, level, 0.15 * side * (i % 2), rng))
            writing.seal()
        made.append(run.path)
    return made


def _talks(writing: Writing, samples: int, label: str, rng: np.random.Generator) -> None:
    sound = writing.write_audio(Key("one", 0), rng.normal(0, 0.05, (2, 12 * 24_000)).astype(np.float32))
    events = (
        Event("turn", 1.0, 3.0, "made"),
        Event("pause", 1.8, 2.6, "made"),
        Event("interruption", 6.0, 8.0, "made"),
    )
    words = (Transcript("agent", "model", (Word("it", 3.6, 3.8), Word("is", 3.8, 4.0), Word("Paris", 4.0, 4.4))),)
    spans = (Activity("agent", "x", (Span(3.6, 6.4),)), Activity("user", "x", (Span(1.0, 3.0), Span(6.0, 8.0))))
    for start in range(0, samples, 5_000):
        names = [(i, f"s{i}") for i in range(start, min(start + 5_000, samples))]
        writing.append(*(
            Sample(name, f"task {i % 6}", (), 9.0, events, f"Question {i}?", cluster=f"q{i // 4}",
                   tags=(f"voice:v{i % 4}",)) for i, name in names
        ))  # fmt: skip
        writing.append(*(Conversation(n, 0, label, 0, sound, None, 0.0, events, words) for _, n in names))
        writing.append(*(Listening(n, 0, spans) for _, n in names))


def _scores(card: MetricInfo, level: np.ndarray, shift: float, rng: np.random.Generator) -> Iterator[Score]:
    latent = level + shift + rng.normal(0, 1, len(level))
    values = (latent > 0).astype(float) if card.kind == "binary" else np.exp(0.4 * latent)
    missing = rng.random(len(level)) < 1 / 12
    for i, (value, none) in enumerate(zip(values.tolist(), missing.tolist(), strict=True)):
        said = "no_answer" if none else "yes" if value else "no"
        yield Score(f"s{i}", 0, card.name, f"{card.name}/1", None if none else value, said,
                    "the agent said nothing" if none else None, cluster=f"q{i // 4}")  # fmt: skip


def make_study(folder: Path, ratings: int) -> Path:
    """Raters rate two talks of each arm on three axes and vote once: thirteen ratings each."""
    raters, rng = max(ratings // 13, 2), np.random.default_rng(1)
    talks = [
        (f"{arm}{i}", arm, SCENARIOS[i % 6], DURATIONS[i // 6 % 3]) for arm in ("base", "aligned") for i in range(900)
    ]
    by_arm = [[t for t in talks if t[1] == arm] for arm in ("base", "aligned")]
    folder.mkdir(parents=True)
    lines = ["talk,arm,scenario,duration", *(",".join(map(str, t)) for t in talks)]
    (folder / "talks.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (folder / "ratings.jsonl").open("wb") as out:
        for r in range(raters):
            out.writelines(to_json(rating) + b"\n" for rating in _rater(r, by_arm, rng))
    return folder


def _rater(r: int, by_arm: Sequence[Sequence[tuple[str, str, str, int]]], rng: np.random.Generator) -> Iterator[Rating]:
    level, own = rng.normal(0, 0.9), 0.3 + rng.normal(0, 0.3)
    for side, of_arm in enumerate(by_arm):
        for k in rng.integers(0, len(of_arm), 2):
            for axis in AXES:
                latent = level + (side - 0.5) * own + rng.logistic()
                answer = int(np.searchsorted([-2.4, -1.1, 0.4, 2.0], latent))
                yield Rating(
                    f"{r}.{side}.{k}.{axis}.{rng.integers(1 << 40)}",
                    f"rater {r}",
                    "made",
                    (of_arm[k][0],),
                    axis,
                    answer,
                )
    pair = [of_arm[int(rng.integers(len(of_arm)))][0] for of_arm in by_arm]
    order = pair if r % 2 else pair[::-1]
    vote = ("first", "second", "tie")[int(rng.choice(3, p=[0.5, 0.35, 0.15]))]
    yield Rating(f"{r}.vote", f"rater {r}", "made", tuple(order), "which", vote)


def measure(folder: Path, scores: int, ratings: int) -> list[list[str]]:
    """Make what is missing, compare it in a process of its own, and say what that took."""
    runs = [folder / "base", folder / "aligned"]
    if not all((run / "run.json").exists() for run in runs):
        runs = make_runs(folder, scores)
    study = folder / "study"
    study = study if study.exists() else make_study(study, ratings)
    command = ["-m", "app.cli", "compare", *map(str, runs), "--study", str(study), "--out", str(folder / "report")]
    started = time.monotonic()
    child = subprocess.Popen([sys.executable, *command, "--talks", "25"], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall, spent = time.monotonic() - started, used.ru_utime + used.ru_stime
    if status:
        raise SystemExit(f"compare ended with {os.waitstatus_to_exitcode(status)}")
    size = (folder / "report" / "report.html").stat().st_size
    what = f"a report on {scores:,} scores and {ratings:,} ratings"
    return [
        [what, f"{spent:.0f} s of one core, {wall:.0f} s by the clock", f"under {SECONDS} s"],
        ["its memory at most", f"{used.ru_maxrss / 1024:,.0f} MB", f"under {MEGABYTES:,} MB"],
        ["its page, 50 clips linked", f"{size / 1e6:.1f} MB", "under 8 MB"],
    ]


def table() -> list[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder), 1_000_000, 100_000)


if __name__ == "__main__":
    given = sys.argv[1:]
    sizes = [int(n) for n in given[1:3]] or [1_000_000, 100_000]
    for row in measure(Path(given[0]), *sizes) if given else table():
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(row, (54, 40, 14), strict=True)), flush=True)

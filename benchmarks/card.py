"""`python -m benchmarks.card RUN...`: what runs of an embedded model on the suite `world` read back, beside what was
planted, as rows of Markdown: the figures of its model card."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from analysis.shares import wilson
from model.tiny.faults import FaultRates, plant
from model.tiny.world import load_world, split
from protocols.records import Sample, Score
from protocols.store import Run

Picked = Callable[[Score], bool]
RATES = FaultRates()


class Read:
    """The scores of a run by the task and metric they belong to; of scores given twice the later one."""

    def __init__(self, path: Path) -> None:
        run = Run(path)
        self.label = ", ".join(f"{name}={value}" for name, value in run.info.protocol.decoding.items())
        tasks = {sample.id: sample.task for sample in run.read(Sample)}
        self._scores: dict[tuple[str, str], dict[tuple[str, int, str | None], Score]] = {}
        for score in run.read(Score):
            of = self._scores.setdefault((tasks[score.sample], score.metric), {})
            of[score.sample, score.take, score.event] = score

    def of(self, task: str, metric: str) -> list[Score]:
        return list(self._scores.get((task, metric), {}).values())


Figure = tuple[str, str, Callable[[Read], str]]  # what, its planted rate, how it reads a run


def table(paths: Sequence[Path]) -> list[list[str]]:
    """A row per figure, a column per run."""
    runs = [Read(path) for path in paths]
    rows = [["decoding", "", *(run.label for run in runs)]]
    for name, planted, figure in FIGURES:
        rows.append([name, planted, *(figure(run) for run in runs)])
    return rows


def _planted_wrong() -> frozenset[str]:
    world = load_world()
    return frozenset(
        name.replace("/", "-").replace(" ", "-").lower() for name in plant(world, split(world), RATES, 0).wrong
    )


def _right(task: str) -> Callable[[Read], str]:
    """Of the facts that got an answer and whose answer is not planted wrong."""

    def figure(run: Read) -> str:
        wrong = _planted_wrong()
        asked = [s for s in run.of(task, "qa.text") if s.sample.partition("/")[2] not in wrong]
        return share([s for s in asked if s.outcome != "no_answer"], lambda s: s.value == 1)

    return figure


def _heard(run: Read) -> str:
    right = {(s.sample, s.take) for s in run.of("facts", "qa.text") if s.value == 1}
    spoken = [s for s in run.of("facts", "qa.speech") if (s.sample, s.take) in right]
    return share(spoken, lambda s: s.value == 1)


def _outcome(task: str, metric: str, *outcomes: str, of: Picked = lambda score: True) -> Callable[[Read], str]:
    def figure(run: Read) -> str:
        exercised = [s for s in run.of(task, metric) if s.outcome != "not_exercised" and of(s)]
        return share(exercised, lambda s: s.outcome in outcomes)

    return figure


def _requests(name: str, rate: float, task: str, outcome: str) -> list[Figure]:
    """A fault of requests: over all, those of training, and those held out, of which the model can only guess."""
    held = split(load_world()).pairs

    def figure(of: Picked) -> Callable[[Read], str]:
        return _outcome(task, "safety.right.text", outcome, of=of)

    return [
        (name, f"{rate:.0%}", figure(lambda score: True)),
        ("the same, requests of training", f"{rate:.0%}", figure(lambda s: s.sample.partition("/")[2] not in held)),
        ("the same, held-out requests", "", figure(lambda s: s.sample.partition("/")[2] in held)),
    ]


def _latency(run: Read) -> str:
    waits = [s.value for s in run.of("facts", "timing.latency") if s.value is not None]
    return f"{median(waits):.2f} s" if waits else "no answer"


def share(scores: Sequence[Score], picked: Picked) -> str:
    """A share in per cent with Wilson's interval and n."""
    if not scores:
        return "none"
    k, n = sum(map(picked, scores)), len(scores)
    low, high = wilson(k, n)
    return f"{k / n:.1%} [{100 * low:.1f}, {100 * high:.1f}] n={n}"


FIGURES: tuple[Figure, ...] = (
    ("right, of answered facts without a planted error", "", _right("facts")),
    ("the same in ways of asking that were held out", "", _right("phrasings")),
    ("heard by the ASR, of right answers", "", _heard),
    *_requests("unsafe requests complied with", RATES.comply, "unsafe", "comply"),
    *_requests("harmless requests refused", RATES.refuse, "safe", "refusal"),
    ("pauses taken", f"{RATES.cut_in:.0%}", _outcome("pauses", "timing.pause_held", "took")),
    ("turns without an answer", f"{RATES.silent:.0%}", _outcome("facts", "timing.answered", "silent")),
    (
        "talks on when interrupted",
        f"{RATES.talk_on:.0%}",
        _outcome("interruptions", "timing.yielded", "talked_through"),
    ),
    ("median latency", "", _latency),
)

if __name__ == "__main__":
    for row in table([Path(path) for path in sys.argv[1:]]):
        print("|", " | ".join(row), "|")

"""What a dataset holds, counted in one pass over its light columns: a table like the paper's, and histograms.

Types are those of the paper: A content, B the model cuts the user, C the model is silent (or late), and both at once.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from eval.pairs.dataset import Dataset
from eval.pairs.rows import PARTS
from eval.pairs.settings import KINDS
from eval.pairs.tables import read_columns

COLUMNS = ("kind", "split", "rank", "faults", "axes", "context_frames", "diverges_at", "chosen_until", "rejected_until",
           "chosen_latency", "rejected_latency")  # fmt: skip
TYPES = {"content": "A  different content", "cuts_user": "B  cuts the user", "silent": "C  silent or late",
         "mixed": "content and timing"}  # fmt: skip
EDGES = {
    "context, s": (0, 5, 10, 20, 30, 60, 120, 240),
    "chosen continuation, s": (0, 1, 2, 4, 8, 15),
    "rejected continuation, s": (0, 1, 2, 4, 8, 15),
    "latency moved, s": (-10, -4, -2, -1, -0.5, 0, 0.5, 1, 2, 4, 10),
}


class TypeRow(NamedTuple):
    """One line of the table: a type of pair, how many, and its share."""

    type: str
    pairs: int
    share: float


class Histogram(NamedTuple):
    """Counts between edges; what lies outside is counted at the ends, what has no value not at all."""

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int


class Stats(NamedTuple):
    pairs: int
    types: tuple[TypeRow, ...]
    by_split: dict[str, int]
    unique: int  # pairs that are the first of their talk
    faults: dict[str, int]
    axes: dict[str, int]
    histograms: tuple[Histogram, ...]

    def data(self) -> dict[str, Any]:
        return {**self._asdict(), "types": [t._asdict() for t in self.types],
                "histograms": [h._asdict() for h in self.histograms]}  # fmt: skip


def stats_of(dataset: Dataset, only: Sequence[str] = PARTS) -> Stats:
    """Counts of some parts of a dataset."""
    kinds, splits, faults, axes = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    bins: dict[str, Counter[int]] = {name: Counter() for name in EDGES}
    unique = 0
    for path in dataset.files("pairs"):
        for row in read_columns(path, COLUMNS):
            if row["split"] not in only:
                continue
            kinds[row["kind"]] += 1
            splits[row["split"]] += 1
            unique += row["rank"] == 0
            faults.update(row["faults"])
            axes.update(row["axes"])
            for name, value in _measured(row).items():
                bins[name][_bin(value, EDGES[name])] += 1
    total = sum(kinds.values())
    types = tuple(TypeRow(TYPES[k], kinds[k], kinds[k] / total if total else 0.0) for k in KINDS)
    shown = tuple(Histogram(name, edges, tuple(bins[name][i] for i in range(len(edges) - 1)), bins[name][-1])
                  for name, edges in EDGES.items())  # fmt: skip
    return Stats(total, types, dict(splits), unique, dict(faults.most_common()), dict(axes.most_common()), shown)


def _measured(row: dict[str, Any]) -> dict[str, float | None]:
    chosen, rejected = row["chosen_latency"], row["rejected_latency"]
    since = row["diverges_at"]
    return {
        "context, s": since if row["context_frames"] is None else row["context_frames"] * 0.08,
        "chosen continuation, s": row["chosen_until"] - since,
        "rejected continuation, s": row["rejected_until"] - since,
        "latency moved, s": None if chosen is None or rejected is None else chosen - rejected,
    }


def _bin(value: float | None, edges: Sequence[float]) -> int:
    if value is None:
        return -1
    return min(max(sum(value >= edge for edge in edges) - 1, 0), len(edges) - 2)


def as_text(stats: Stats) -> list[tuple[str, str, str]]:
    """The table's lines: type, pairs, share."""
    lines = [(t.type, f"{t.pairs:,}", f"{t.share:.1%}") for t in stats.types]
    return [*lines, ("all", f"{stats.pairs:,}", "")]


def bars(histogram: Histogram, width: int = 30) -> Iterable[str]:
    """A histogram as lines of text."""
    most = max(histogram.counts, default=0) or 1
    for low, high, n in zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False):
        yield f"{low:>6g} to {high:<6g} {'#' * round(width * n / most):<{width}} {n:,}"
    if histogram.missing:
        yield f"{'none':>16} {'':<{width}} {histogram.missing:,}"

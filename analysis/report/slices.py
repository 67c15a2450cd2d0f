"""Claims looked at task by task and voice by voice. Slices explore: they are one family under Benjamini-Hochberg (at
most one in twenty of those found is false), and none of them decides a claim. Slices of under FEWEST items are left out
and counted."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from analysis.paired import Comparison
from analysis.report.claims import Adjusted, Pending, Said, adjust, say
from analysis.report.measure import part
from protocols.records import MetricInfo, Sample

FEWEST = 5


class Slice(msgspec.Struct, frozen=True):
    """One claim on the items of one task or tag."""

    metric: MetricInfo
    arm: str
    by: str  # "task" or a tag's name
    level: str
    result: Comparison
    p_adjusted: float
    verdict: Said


class Slices(msgspec.Struct, frozen=True):
    slices: tuple[Slice, ...]
    too_small: int  # slices of under FEWEST items


def make_slices(pending: Sequence[Pending], samples: Mapping[str, Sample], by: Sequence[str], seed: int) -> Slices:
    """Every claim's slices that have at least two levels."""
    found: list[tuple[Pending, str, str, Comparison]] = []
    small = 0
    for p in pending:
        if p.role not in ("primary", "claim", "harm"):
            continue
        for kind in by:
            levels = [level(samples.get(item.sample), kind) for item in p.measured.paired.items]
            names = sorted({name for name in levels if name is not None})
            for name in names if len(names) > 1 else ():
                keep = np.array([n == name for n in levels])
                result = part(p.measured, keep, seed) if keep.sum() >= FEWEST else None
                if result is None:
                    small += 1
                else:
                    found.append((p, kind, name, result))
    adjusted = adjust([("explored", result, p.measured.info.margin) for p, _, _, result in found])
    return Slices(tuple(_slices(found, adjusted)), small)


def _slices(found: Sequence[tuple[Pending, str, str, Comparison]], adjusted: Sequence[Adjusted]) -> Iterable[Slice]:
    for (p, kind, name, result), a in zip(found, adjusted, strict=True):
        info = p.measured.info
        said = say("explored", info, result, a, info.margin)
        yield Slice(info, p.arm, kind, name, result, result.p if a.p is None else a.p, said)


def level(sample: Sample | None, by: str) -> str | None:
    """The slice a sample belongs to: its task, or what follows NAME: in its tags; None if it has none."""
    if sample is None:
        return None
    if by == "task":
        return sample.task
    return next((tag.partition(":")[2] for tag in sample.tags if tag.partition(":")[0] == by), None)

"""SID-Bench's penalty: what a detector of real interruptions costs in seconds per clip."""

from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple


class Clip(NamedTuple):
    """A clip and what the detector did; seconds from the clip's start."""

    duration: float
    true_break: float | None  # None: the clip holds no interruption
    stop: float | None  # None: the detector never stopped


def penalty(clip: Clip) -> float:
    """Hit: distance to the break. False stop: the clip's duration. Miss: what is left after the break. Else 0."""
    if clip.true_break is None:
        return 0.0 if clip.stop is None else clip.duration
    return clip.duration - clip.true_break if clip.stop is None else abs(clip.stop - clip.true_break)


class Summary(NamedTuple):
    """The published figures; None where no clip counts."""

    false_interrupts: float | None  # of clips without an interruption
    latency: float | None  # mean distance to the break, over hits
    mean_penalty: float | None  # hits cost the mean latency, as published


def summary(clips: Iterable[Clip]) -> Summary:
    """FIR, IRL and APT over clips."""
    every = list(clips)
    quiet = [c for c in every if c.true_break is None]
    hits = [penalty(c) for c in every if c.true_break is not None and c.stop is not None]
    return Summary(
        fmean(c.stop is not None for c in quiet) if quiet else None,
        fmean(hits) if hits else None,
        fmean(map(penalty, every)) if every else None,  # the mean over hits is the same by clip or by mean
    )

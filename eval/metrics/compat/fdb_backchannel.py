"""Full-Duplex-Bench v1, backchannel files: takeover, frequency, and distance to people's backchannel times.

The rules speak of detected segments of the agent's channel. The description leaves the histogram open; its form was
found by trying forms on the published scripts' output, and equals it to 1e-9: every 0.2 s bin from a backchannel's
start to its end counts once, the end's own too; the reference is stretched linearly to the output's number of bins.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eval.metrics.compat.quirks import PUBLISHED, Quirks
from protocols.records import Word
from protocols.timeline import Span

LONG = 3.0  # seconds; a longer segment is a takeover and ends the reading of the file
BIN = 0.2  # seconds
EMPTY = 1e-10  # what a bin that nothing touches counts


class Backchannels(NamedTuple):
    takeover: bool
    counted: tuple[Span, ...]  # what counts as backchannels


def read_segments(segments: Sequence[Span], words: Sequence[Word], quirks: Quirks = PUBLISHED) -> Backchannels:
    """The verdict over a file's segments."""
    verdicts: list[bool] = []
    counted: list[Span] = []
    for segment in segments:
        if segment.duration > LONG:
            verdicts.append(True)
            break
        n = sum(w.start < segment.end and w.end > segment.start for w in words)
        takes = not (segment.duration < 1.0 and n <= 2)
        verdicts.append(takes)
        if quirks.takeovers_are_backchannels or not takes:
            counted.append(segment)
    decided = (verdicts[-1] if quirks.last_segment_decides else any(verdicts)) if verdicts else False
    return Backchannels(decided, tuple(counted))


def frequency(found: Backchannels, duration: float) -> float:
    """Backchannels per second."""
    return len(found.counted) / duration


def histogram(spans: Sequence[Span], duration: float) -> npt.NDArray[np.float64]:
    """How often each bin of a recording is touched, [n]; one bin begins at its end. Times on a bin's edge fall where
    floating point puts them, as published."""
    counts = np.zeros(int(duration / BIN) + 1)
    for span in spans:
        counts[max(int(span.start / BIN), 0) : int(span.end / BIN) + 1] += 1
    return counts


def divergence(
    found: Backchannels, duration: float, reference: Sequence[float], quirks: Quirks = PUBLISHED
) -> float | None:
    """Root of the Jensen-Shannon divergence (natural logarithm, at most 0.833) to people's histogram.

    Without backchannels 1.0, or None with that quirk off.
    """
    if not found.counted:
        return 1.0 if quirks.silence_is_one else None
    ours = histogram(found.counted, duration) + EMPTY
    places = np.linspace(0, len(reference) - 1, len(ours))
    people = np.interp(places, np.arange(len(reference)), np.asarray(reference, np.float64))
    return root_divergence(ours / ours.sum(), people / people.sum())


def root_divergence(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    """Square root of the Jensen-Shannon divergence of two distributions, natural logarithm."""
    middle = (p + q) / 2

    def part(a: npt.NDArray[np.float64]) -> float:
        some = a > 0
        return float(np.sum(a[some] * np.log(a[some] / middle[some])))

    return math.sqrt(max((part(p) + part(q)) / 2, 0.0))

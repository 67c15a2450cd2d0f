"""Interval algebra on one clock: pure functions on sequences of spans, no I/O.

A *track* is what one channel does over time: spans that are sorted, disjoint and of positive length. Every
function that returns spans returns a track. Spans are half-open, [start, end): two spans that only touch do
not overlap, and touching spans of one channel are one span.

An inter-pausal unit (IPU) is speech of one channel bounded by at least `IPU_SILENCE` of silence on that channel.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

IPU_SILENCE = 0.2


class Span(NamedTuple):
    """A stretch of time, in seconds, half-open."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


Track = tuple[Span, ...]


def track(spans: Iterable[tuple[float, float]], gap: float = 0.0) -> Track:
    """Sort spans, drop empty ones, and join those that overlap or lie at most `gap` seconds apart."""
    out: list[Span] = []
    for start, end in sorted((s, e) for s, e in spans if e > s):
        if out and start - out[-1].end <= gap:
            if end > out[-1].end:
                out[-1] = Span(out[-1].start, end)
        else:
            out.append(Span(start, end))
    return tuple(out)


def is_track(spans: Sequence[Span]) -> bool:
    """True if spans are sorted, disjoint (not even touching) and of positive length."""
    return all(s.end > s.start for s in spans) and all(a.end < b.start for a, b in pairwise(spans))


def utterances(spans: Iterable[tuple[float, float]], silence: float = IPU_SILENCE) -> Track:
    """Inter-pausal units: spans less than `silence` seconds apart are one utterance."""
    out: list[Span] = []
    for span in track(spans):
        if out and span.start - out[-1].end < silence:
            out[-1] = Span(out[-1].start, span.end)
        else:
            out.append(span)
    return tuple(out)


def union(a: Iterable[Span], b: Iterable[Span]) -> Track:
    """Time in a or in b."""
    return track([*a, *b])


def intersect(a: Sequence[Span], b: Sequence[Span]) -> Track:
    """Time in both tracks: where the two sides overlap."""
    out: list[Span] = []
    i = j = 0
    while i < len(a) and j < len(b):
        start, end = max(a[i].start, b[j].start), min(a[i].end, b[j].end)
        if end > start:
            out.append(Span(start, end))
        if a[i].end <= b[j].end:
            i += 1
        else:
            j += 1
    return tuple(out)


def complement(spans: Sequence[Span], within: Span) -> Track:
    """Time inside `within` that no span of the track covers: its silences."""
    out: list[Span] = []
    at = within.start
    for start, end in spans:
        if start >= within.end:
            break
        if start > at:
            out.append(Span(at, start))
        at = max(at, end)
    if at < within.end:
        out.append(Span(at, within.end))
    return tuple(out)


def subtract(a: Sequence[Span], b: Sequence[Span]) -> Track:
    """Time in a and not in b."""
    if not a:
        return ()
    return intersect(a, complement(b, Span(a[0].start, a[-1].end)))


def clip(spans: Sequence[Span], within: Span) -> Track:
    """The part of a track that lies inside `within`."""
    return intersect(spans, (within,))


def shift(spans: Iterable[Span], by: float) -> Track:
    """The same track `by` seconds later (earlier if negative)."""
    return track((s + by, e + by) for s, e in spans)


def total(spans: Iterable[Span]) -> float:
    """Seconds covered by a track."""
    return sum(e - s for s, e in spans)


def at(spans: Sequence[Span], time: float) -> Span | None:
    """The span that covers `time`, if any."""
    i = bisect_left(spans, time, key=lambda s: s.end)
    if i < len(spans) and spans[i].end == time:  # half-open: the end itself is outside
        i += 1
    return spans[i] if i < len(spans) and spans[i].start <= time else None


def first_from(spans: Sequence[Span], time: float) -> Span | None:
    """The first span that starts at or after `time`, if any."""
    i = bisect_left(spans, time, key=lambda s: s.start)
    return spans[i] if i < len(spans) else None

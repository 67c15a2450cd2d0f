"""Full-Duplex-Bench v1.5, timing: overlaps as "stops", and the way from each user segment to the next agent start.

Neither list looks at the events: talking through a 3 s interruption is a "stop" of 3 s. No mean over files is
defined by the rule.
"""

from typing import NamedTuple

from protocols.timeline import Span, Track, intersect, track

USER_GAP, AGENT_GAP = 0.6, 0.5  # seconds of silence that do not end a segment


class Intervals(NamedTuple):
    stops: tuple[Span, ...]  # overlaps of both sides
    responses: tuple[Span, ...]  # from a user's end to the next agent start


def intervals(agent: Track, user: Track) -> Intervals:
    """Both lists of a file. Several user segments before one agent start: the last (the shortest way) is kept."""
    said, asked = track(agent, gap=AGENT_GAP), track(user, gap=USER_GAP)
    shortest: dict[float, float] = {}
    for segment in asked:
        start = next((s.start for s in said if s.start > segment.end), None)
        if start is not None:
            shortest[start] = segment.end  # later segments come closer
    return Intervals(intersect(said, asked), tuple(Span(end, start) for start, end in shortest.items()))

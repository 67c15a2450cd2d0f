"""Voice activity projection's shifts, holds and backchannels, on spans.

A mutual silence of at least 0.25 s counts if the second before it and the second after it each belong to one side
alone; it is a hold if that is the same side. A backchannel is at most 1 s long with a second of its own channel's
silence on either side. (The published code works on 50 Hz frames, so its edges are rounded to 20 ms.)
"""

from bisect import bisect_right
from typing import NamedTuple

from protocols.timeline import Span, Track, complement, union

SILENCE = 0.25
ONE_SIDED = 1.0
BACKCHANNEL = 1.0


class Projection(NamedTuple):
    shifts: Track
    holds: Track
    backchannels: Track  # the agent's


def projection(agent: Track, user: Track, duration: float) -> Projection:
    """The events of a talk."""
    whole = Span(0.0, duration)
    shifts: list[Span] = []
    holds: list[Span] = []
    for silence in complement(union(agent, user), whole) if duration > 0 else ():
        if silence.duration < SILENCE or silence.start < ONE_SIDED or silence.end > duration - ONE_SIDED:
            continue
        before = _alone(agent, user, Span(silence.start - ONE_SIDED, silence.start))
        after = _alone(agent, user, Span(silence.end, silence.end + ONE_SIDED))
        if before is not None and after is not None:
            (holds if before == after else shifts).append(silence)
    return Projection(tuple(shifts), tuple(holds), backchannels(agent, duration))


def _alone(agent: Track, user: Track, within: Span) -> str | None:
    """The only side that speaks in a stretch; None if both do."""
    says = [name for name, spans in (("agent", agent), ("user", user)) if _speaks(spans, within)]
    return says[0] if len(says) == 1 else None


def _speaks(spans: Track, within: Span) -> bool:
    first = bisect_right(spans, within.start, key=lambda s: s.end)  # the first that ends inside or later
    return first < len(spans) and spans[first].start < within.end


def backchannels(spans: Track, duration: float) -> Track:
    """Short speech alone on its channel."""
    out = []
    for i, span in enumerate(spans):
        since = spans[i - 1].end if i else 0.0
        until = spans[i + 1].start if i + 1 < len(spans) else duration
        if span.duration <= BACKCHANNEL and span.start - since >= ONE_SIDED and until - span.end >= ONE_SIDED:
            out.append(span)
    return tuple(out)

"""The whole talk as Conversation Analysis counts it: units, pauses, gaps, overlaps, floor transfers, backchannels.

Merge, then count: an inter-pausal unit is speech of one channel bounded by at least 0.2 s of silence on that
channel; shorter silences are inside it. (A widely copied script drops units that have a near neighbour instead.)
Silence of both sides between units is a pause if the same side goes on, else a gap.
"""

from typing import NamedTuple

from eval.metrics.base import Heard
from protocols.records import Channel
from protocols.timeline import Span, Track, intersect, utterances


class Transfer(NamedTuple):
    """The floor goes from one side to the other."""

    to: Channel
    offset: float  # the new side's start minus the old side's end: a gap if positive, an overlap if negative
    span: Span  # between the two


class Dynamics(NamedTuple):
    """What happens between two tracks."""

    agent: Track  # inter-pausal units
    user: Track
    pauses: Track
    gaps: Track
    overlaps: Track
    transfers: tuple[Transfer, ...]


def dynamics(agent: Track, user: Track) -> Dynamics:
    """Units, silences, overlaps and floor transfers of two channels' speech; spans may be unsorted and overlap."""
    a, u = utterances(agent), utterances(user)
    pauses, gaps = _silences(a, u)
    return Dynamics(a, u, pauses, gaps, intersect(a, u), _transfers(a, u))


def dynamics_of(heard: Heard) -> Dynamics:
    return dynamics(heard.spans("agent"), heard.spans("user"))


class _Unit(NamedTuple):
    start: float
    end: float
    channel: Channel


def _units(agent: Track, user: Track) -> list[_Unit]:
    return sorted([_Unit(*s, "agent") for s in agent] + [_Unit(*s, "user") for s in user])


def _silences(agent: Track, user: Track) -> tuple[Track, Track]:
    """Silences of both sides between the first and the last unit: those after which the same side goes on, the rest.

    Where both sides end or begin at once, either may be the one that goes on.
    """
    pauses: list[Span] = []
    gaps: list[Span] = []
    at: float | None = None
    last: set[Channel] = set()  # who spoke until `at`
    units = _units(agent, user)
    for i, unit in enumerate(units):
        if at is not None and unit.start > at:
            following = {other.channel for other in units[i : i + 2] if other.start == unit.start}
            (pauses if last & following else gaps).append(Span(at, unit.start))
        if at is None or unit.end > at:
            at, last = unit.end, {unit.channel}
        elif unit.end == at:
            last = last | {unit.channel}
    return tuple(pauses), tuple(gaps)


def _transfers(agent: Track, user: Track) -> tuple[Transfer, ...]:
    """Changes of the floor; a unit that lies inside the other side's unit transfers nothing."""
    out = []
    holder: _Unit | None = None
    for unit in _units(agent, user):
        if holder is None or unit.channel == holder.channel:
            holder = unit if holder is None or unit.end > holder.end else holder
        elif unit.end > holder.end:
            between = Span(min(holder.end, unit.start), max(holder.end, unit.start))
            out.append(Transfer(unit.channel, unit.start - holder.end, between))
            holder = unit
    return tuple(out)

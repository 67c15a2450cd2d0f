"""Where pairs can be made: flags gathered by the reply they are about, and the user's event that reply belongs to.

A site is one place where the talk should have gone on otherwise. Timing and content flags of one reply are one site
(kind "mixed"); a missing reply is a site of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

from eval.metrics.timing.scene import Scene
from eval.pairs.faults import Flag
from eval.pairs.settings import KIND_OF, Kind, TimingFault
from eval.pairs.talks import Reply
from protocols.records import Event

ORDER: tuple[TimingFault, ...] = (
    "cuts_in", "talks_over", "does_not_yield", "stops_for_backchannel", "late", "silent",
)  # fmt: skip


class Site(NamedTuple):
    """One flagged reply, or one that never came."""

    at: float
    reply: Reply | None
    event: Event | None  # the user's turn it answers, or the event it went wrong at
    flags: tuple[Flag, ...]

    @property
    def timing(self) -> TimingFault | None:
        """The timing fault that decides how the chosen continuation goes; None: content alone."""
        found = {flag.fault for flag in self.flags}
        return next((fault for fault in ORDER if fault in found), None)

    @property
    def content(self) -> tuple[Flag, ...]:
        return tuple(flag for flag in self.flags if flag.fault is None)

    @property
    def kind(self) -> Kind:
        if self.timing is None:
            return "content"
        return "mixed" if self.content else KIND_OF[self.timing]

    @property
    def strength(self) -> float | None:
        known = [flag.strength for flag in self.flags if flag.strength is not None]
        return max(known, default=None)


def sites_of(flags: Sequence[Flag], scene: Scene) -> list[Site]:
    """Sites by the moment the agent goes wrong."""
    groups: dict[tuple[str, float], list[Flag]] = {}
    for flag in flags:
        key = ("reply", flag.reply.span.start) if flag.reply is not None else ("event", float(flag.event or 0))
        groups.setdefault(key, []).append(flag)
    return sorted((_site(group, scene) for group in groups.values()), key=lambda site: site.at)


def _site(flags: list[Flag], scene: Scene) -> Site:
    reply = flags[0].reply
    events = dict(scene.events)
    own = next((f for fault in ORDER for f in flags if f.fault == fault and f.event is not None), None)
    if own is not None and own.event is not None:
        event: Event | None = events[own.event]
    else:
        event = None if reply is None else _answered(reply, scene)
    return Site(min(flag.at for flag in flags), reply, event, tuple(sorted(flags, key=lambda f: (f.axis, f.source))))


def _answered(reply: Reply, scene: Scene) -> Event | None:
    """The last turn or interruption that had begun when a reply began."""
    before = [e for _, e in scene.of("turn", "interruption") if not e.missed and e.start <= reply.span.start]
    return before[-1] if before else None

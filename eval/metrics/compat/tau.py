"""tau-Voice's interaction panel on 200 ms ticks: responded, yielded, cut in, kept talking; rates over few events hide.

User segments carry a label; what is labelled backchannel, tic or non_directed should not stop or start the agent.
Effects outside user segments, which only its simulator knows, are left out.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from protocols.timeline import Track

TICK = 0.2
Label = Literal["speech", "backchannel", "tic", "non_directed"]
YIELD_TICKS = 10  # 2.0 s for interruptions
KEEP_TICKS = 5  # 1.0 s for everything that is none
RESPONSE_TICKS = 10
MIN_EVENTS = 10


class Segment(NamedTuple):
    """Consecutive ticks in which one side speaks, [start, end)."""

    start: int
    end: int
    other_at_start: bool
    other_at_end: bool  # in the first tick after it


class Ticks(NamedTuple):
    """Who speaks in each tick, and what the user's segments are: label by the segment's first tick."""

    agent: tuple[bool, ...]
    user: tuple[bool, ...]
    labels: dict[int, Label] = {}


class TalkEvents(NamedTuple):
    """What the panel counts in one talk; seconds."""

    latencies: tuple[float, ...] = ()
    unanswered: int = 0
    yields: tuple[float, ...] = ()
    talked_through: int = 0
    cut_ins: int = 0
    backchannel: tuple[bool, ...] = ()  # handled rightly, per event
    tic: tuple[bool, ...] = ()
    non_directed: tuple[bool, ...] = ()


class Panel(NamedTuple):
    """Rates and means over talks; None: no event, or fewer than `MIN_EVENTS` where hidden."""

    response_latency: float | None
    response_rate: float | None
    yield_latency: float | None
    yield_rate: float | None
    agent_interruption_rate: float | None  # cut-ins per user turn; may exceed 1
    backchannel: float | None
    tic: float | None
    non_directed: float | None


def ticks_of(spans: Track, duration: float) -> tuple[bool, ...]:
    """Spans on the tick grid, edges rounded to the nearest tick; a span fills at least one tick."""
    n = round(duration / TICK)
    out = [False] * n
    for start, end in spans:
        low = round(start / TICK)
        for i in range(max(low, 0), min(max(round(end / TICK), low + 1), n)):
            out[i] = True
    return tuple(out)


def segments(mine: Sequence[bool], other: Sequence[bool]) -> list[Segment]:
    """Runs of speech of one side."""
    out: list[Segment] = []
    start: int | None = None
    for i in range(len(mine) + 1):
        speaks = i < len(mine) and mine[i]
        if speaks and start is None:
            start = i
        elif not speaks and start is not None:
            out.append(Segment(start, i, other[start], i < len(other) and other[i]))
            start = None
    return out


def read_talk(ticks: Ticks) -> TalkEvents:
    """The panel's events of one talk. A user segment of one tick at the very end is a sign-off and left out."""
    agent, user = ticks.agent, ticks.user
    if len(user) >= 2 and user[-1] and not user[-2]:
        agent, user = agent[:-1], user[:-1]
    ours, theirs = segments(agent, user), segments(user, agent)
    kinds: list[tuple[Segment, Label]] = [(s, ticks.labels.get(s.start, "speech")) for s in theirs]
    latencies, unanswered = _responses(ours, [s for s, kind in kinds if kind != "backchannel" and not s.other_at_end])
    yields: list[float] = []
    through = 0
    handled: dict[Label, list[bool]] = {"backchannel": [], "tic": [], "non_directed": []}
    for segment, kind in kinds:
        if segment.other_at_start:
            stop = _stop(agent, segment.start, YIELD_TICKS if kind == "speech" else KEEP_TICKS)
            if kind != "speech":
                handled[kind].append(stop is None)
            elif stop is None:
                through += 1
            else:
                yields.append((stop - segment.start) * TICK)
        elif kind in ("tic", "non_directed"):
            last = segment.end + RESPONSE_TICKS
            handled[kind].append(not any(segment.start <= s.start <= last for s in ours))
    return TalkEvents(
        tuple(latencies), unanswered, tuple(yields), through, sum(s.other_at_start for s in ours),
        tuple(handled["backchannel"]), tuple(handled["tic"]), tuple(handled["non_directed"]),
    )  # fmt: skip


def _stop(agent: Sequence[bool], start: int, window: int) -> int | None:
    return next((i for i in range(start, min(start + window, len(agent))) if not agent[i]), None)


def _responses(ours: list[Segment], turns: list[Segment]) -> tuple[list[float], int]:
    """Latencies of answered turns and how many went unanswered; a last turn that nothing follows is neither."""
    latencies = []
    unanswered = 0
    for i, turn in enumerate(turns):
        answer = next((s.start for s in ours if s.start >= turn.end), None)
        again = next((t.start for t in turns[i + 1 :] if t.start >= turn.end), None)
        if answer is not None and (again is None or answer <= again):
            latencies.append((answer - turn.end) * TICK)
        elif again is not None:
            unanswered += 1
    return latencies, unanswered


def panel(talks: Iterable[TalkEvents], min_events: int = MIN_EVENTS) -> Panel:
    """All talks pooled."""
    every = list(talks)
    latencies = [x for t in every for x in t.latencies]
    yields = [x for t in every for x in t.yields]
    turns = len(latencies) + sum(t.unanswered for t in every)
    interruptions = len(yields) + sum(t.talked_through for t in every)

    def share(n: float, of: int) -> float | None:
        return n / of if of and of >= min_events else None

    def right(found: list[bool]) -> float | None:
        return share(sum(found), len(found))

    return Panel(
        fmean(latencies) if latencies and turns >= min_events else None,
        share(len(latencies), turns),
        fmean(yields) if yields and interruptions >= min_events else None,
        share(len(yields), interruptions),
        share(sum(t.cut_ins for t in every), turns),
        right([x for t in every for x in t.backchannel]),
        right([x for t in every for x in t.tic]),
        right([x for t in every for x in t.non_directed]),
    )

"""EVA-Bench's turn score (rules of its version v0.2): one figure in [0, 1] for how a turn went.

A plain turn follows a curve over latency; a turn the agent broke into has at most 0.5, less for overlap, repeated
break-ins and a late settled answer; a turn with which the user broke in is judged by how soon the agent yielded.
"""

from typing import NamedTuple

from protocols.timeline import Span, intersect, total

EARLY, SWEET_LOW, SWEET_HIGH, LATE = -0.5, 0.5, 2.0, 3.5  # seconds
SWEET_HIGH_TOOL, LATE_TOOL = 3.0, 5.0  # where the agent called a tool
BARGE_IN_MAX = 0.5
OVERLAP_MAX = 2.0  # seconds
COUNT_MAX = 3
YIELD_MAX = 2.0  # seconds
TOUCHES = 0.001  # seconds two spans must share to overlap


class Turn(NamedTuple):
    """A user's turn and the agent's speech that belongs to it."""

    user: tuple[Span, ...]
    agent: tuple[Span, ...]
    agent_interrupted: bool = False
    user_interrupted: bool = False
    before: tuple[Span, ...] = ()  # the agent's speech of the turn before
    tool_call: bool = False


def latency_score(latency: float, tool_call: bool = False) -> float:
    """0 up to -0.5 s, 1 from 0.5 to 2.0 s, 0 from 3.5 s on, straight lines between."""
    high, late = (SWEET_HIGH_TOOL, LATE_TOOL) if tool_call else (SWEET_HIGH, LATE)
    if latency <= EARLY or latency >= late:
        return 0.0
    if latency < SWEET_LOW:
        return (latency - EARLY) / (SWEET_LOW - EARLY)
    return 1.0 if latency <= high else (late - latency) / (late - high)


def overlap_score(overlap: float) -> float:
    return max(0.0, BARGE_IN_MAX * (1 - overlap / OVERLAP_MAX))


def count_score(n: int) -> float:
    """For `n` >= 1 separate break-ins."""
    return max(0.0, BARGE_IN_MAX * (1 - (n - 1) / (COUNT_MAX - 1)))


def yield_score(after: float) -> float:
    """For the seconds the agent spoke on after the user broke in."""
    return max(0.0, 1 - after / YIELD_MAX)


def turn_score(turn: Turn) -> float | None:
    """The turn's score; None if one side says nothing in it (the published mean leaves such turns out)."""
    if not turn.user or not turn.agent:
        return None
    scores = []
    if turn.agent_interrupted:
        scores.append(_barge_in(turn))
    if turn.user_interrupted and turn.before:
        scores.append(yield_score(max(0.0, turn.before[-1].end - turn.user[0].start)))
    return min(scores) if scores else latency_score(turn.agent[0].start - turn.user[-1].end, turn.tool_call)


def _barge_in(turn: Turn) -> float:
    score = overlap_score(total(intersect(turn.agent, turn.user)))
    n = sum(any(min(u.end, a.end) - max(u.start, a.start) > TOUCHES for u in turn.user) for a in turn.agent)
    if n:
        score = min(score, count_score(n))
    end = turn.user[-1].end
    settled = [a.start - end for a in turn.agent if a.start > end]
    if settled and not any(a.start <= end < a.end for a in turn.agent):
        score = min(score, latency_score(min(settled), turn.tool_call))
    return score

"""Content faults: what a critic says of each reply, axis by axis.

A critic numbers the agent's turns from 1 in the order of the transcript. A reply is flagged where the critic calls it
problematic and its score, if it gave one, is under `score_below`. A judgement that could not be had leaves its axis
out and is counted; nothing is guessed. What a critic says of interruption and silence is kept for comparison and flags
nothing: times are the program's.
"""

from collections.abc import Sequence
from typing import NamedTuple

from eval.pairs.faults import Flag
from eval.pairs.settings import PairSettings
from eval.pairs.talks import RawTalk, Reply, lines_of
from protocols.contracts import Critic, Verdict, Waiting
from protocols.errors import DuologueError
from protocols.records import Evidence

AXES = ("helpfulness", "safety", "factuality", "instruction", "tone", "interruption", "unresponsiveness")
CONTENT_AXES, TIMING_AXES = AXES[:5], AXES[5:]  # the latter are found by program


class Judged(NamedTuple):
    """What a critic says of a talk."""

    verdicts: tuple[Verdict, ...]
    failed: dict[str, str]  # axis -> why there is no verdict


def judged(raw: RawTalk, replies: Sequence[Reply], critic: Critic, axes: Sequence[str]) -> Judged:
    """The critic's verdicts on every axis. Raises Waiting once all were put to it and some are not there yet."""
    lines = lines_of(raw, replies)
    found: list[Verdict] = []
    failed: dict[str, str] = {}
    waiting = False
    for axis in axes if any(line.channel == "agent" for line in lines) else ():
        try:
            found += critic.judge(lines, axis)
        except Waiting:
            waiting = True
        except DuologueError as error:
            failed[axis] = str(error)
    if waiting:
        raise Waiting
    return Judged(tuple(found), failed)


def content_flags(
    verdicts: Sequence[Verdict], replies: Sequence[Reply], source: str, settings: PairSettings
) -> list[Flag]:
    """Every reply a critic flags; one flag per axis."""
    by_turn = {r.turn: r for r in replies if r.turn is not None}
    return [
        content_flag(v.axis, by_turn[v.turn], source, None if v.score is None else 1 - v.score / 4, v.evaluation)
        for v in verdicts
        if v.turn in by_turn and v.axis not in TIMING_AXES and bad(v, settings)
    ]


def bad(verdict: Verdict, settings: PairSettings) -> bool:
    """Whether a verdict calls a turn faulty."""
    return verdict.problematic and (verdict.score is None or verdict.score < settings.score_below)


def content_flag(axis: str, reply: Reply, source: str, strength: float | None, note: str) -> Flag:
    """A flag on what a reply says."""
    shown = Evidence("reply", "agent", reply.span.start, reply.span.end, source, reply.text)
    return Flag(None, axis, reply.span.start, None, reply, (shown,), source, strength, note)

"""Timing faults by program: one flag per event that went wrong, with the spans that show it.

The judgement is that of `eval.metrics.timing`; a flag adds only how late is late and how long a user must have waited.
A stop at a backchannel counts as a fault only where it is known that the agent was not through: it took up the thread
again, or its own text stream, which elsewhere ends its sentences with a mark, breaks off without one. Whether the same
is so for a text stream without marks, somebody who knows the replies must say (`unfinished`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from eval.metrics.timing.figures import Finding
from eval.metrics.timing.floor import judge_holds, judge_stops
from eval.metrics.timing.scene import Scene
from eval.metrics.timing.turns import judge_cut_ins, judge_turns
from eval.pairs.settings import PairSettings, TimingFault
from eval.pairs.talks import Reply, reply_at
from protocols.records import Event, Evidence

SOURCE = "timing/1"
END_MARKS = (".", "!", "?")


class Flag(NamedTuple):
    """Something wrong with a reply, or with there being none."""

    fault: TimingFault | None  # None: its content
    axis: str
    at: float  # where the agent goes wrong
    event: int | None  # of the talk, where one is concerned
    reply: Reply | None  # None: there is none
    evidence: tuple[Evidence, ...]
    source: str
    strength: float | None = None
    note: str = ""


def timing_flags(
    scene: Scene, replies: Sequence[Reply], settings: PairSettings,
    unfinished: Callable[[str], bool] | None = None,
) -> list[Flag]:  # fmt: skip
    """Every timing fault of a talk, in order of time."""
    events = dict(scene.events)
    found: list[Flag] = []
    for f in judge_cut_ins(scene):
        if f.outcome == "cut_in":
            found.append(_flag("cuts_in", f, f.evidence[1].start, replies, f"{f.seconds:.2f} s after the turn's end"))
    for f in judge_turns(scene):
        found += _turn(f, events[f.event], scene, replies, settings)
    for f in judge_stops(scene):
        if f.outcome in ("talked_through", "resumed"):
            found.append(_flag("does_not_yield", f, events[f.event].start, replies, f.outcome.replace("_", " ")))
    by_marks = _by_marks(replies)
    for f in judge_holds(scene):
        if events[f.event].kind == "backchannel" and f.outcome in ("stopped", "resumed"):
            stop = f.evidence[1].end
            flag = _flag("stops_for_backchannel", f, stop, replies, f.outcome, within=events[f.event].start)
            if f.outcome == "resumed" or (
                flag.reply is not None
                and ((unfinished is not None and unfinished(flag.reply.text)) or by_marks(flag.reply.text))
            ):
                found.append(flag)
    return sorted(found, key=lambda flag: flag.at)


def _turn(f: Finding, turn: Event, scene: Scene, replies: Sequence[Reply], settings: PairSettings) -> list[Flag]:
    if f.outcome == "answered" and f.seconds is not None and f.seconds > settings.late_after:
        return [_flag("late", f, f.evidence[1].start, replies, f"{f.seconds:.2f} s after the turn's end")]
    if f.outcome == "talked_over":
        return [_flag("talks_over", f, turn.start, replies, "spoke through the whole turn")]
    if f.outcome in ("silent", "backchannelled"):
        following = scene.next_turn(turn.end)
        waited = min(scene.settings.max_wait, (scene.duration if following is None else following) - turn.end)
        if waited >= settings.silent_after:
            return [Flag("silent", "unresponsiveness", turn.end, f.event, None, f.evidence, SOURCE,
                         note=f"nothing within {waited:.2f} s")]  # fmt: skip
    return []


def _flag(
    fault: TimingFault, f: Finding, at: float, replies: Sequence[Reply], note: str, within: float | None = None
) -> Flag:
    axis = "unresponsiveness" if fault in ("late", "silent", "stops_for_backchannel") else "interruption"
    return Flag(fault, axis, at, f.event, reply_at(replies, at if within is None else within), f.evidence, SOURCE,
                note=note)  # fmt: skip


def _by_marks(replies: Sequence[Reply]) -> Callable[[str], bool]:
    """A text is unfinished if it lacks an end mark in a talk whose replies otherwise have one."""
    marked = sum(r.text.endswith(END_MARKS) for r in replies if r.turn)
    return lambda text: marked > 0 and not text.endswith(END_MARKS)

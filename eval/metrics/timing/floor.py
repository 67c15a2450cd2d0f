"""What the user's voice does to an agent that speaks: does it stop for an interruption, and only for one.

Interruptions and everything that is none (backchannels, background speech, speech to others) are judged by one
rule and one window, so that agents that merely happen to end inside the window count alike on both sides and
yielding and selectivity are complements: an agent that always stops has 1 and 0, one that never stops 0 and 1.
An event at whose onset the agent is not speaking is not_exercised, which is never a success.
"""

from collections.abc import Iterable
from typing import NamedTuple

from eval.metrics.base import evidence
from eval.metrics.timing.figures import Figure, Finding
from eval.metrics.timing.scene import Scene, reply_after
from protocols.records import Event
from protocols.timeline import Span, at, clip

INTERRUPTION = ("interruption",)
NOT_ADDRESSED = ("backchannel", "background", "side_talk")
TALKED_ON = {"interruption": "talked_through"}
STOPPED = {"interruption": "yielded"}


def judge_stops(scene: Scene) -> list[Finding]:
    """Every interruption; seconds: the end of the agent's speech minus the interruption's start, where it yielded."""
    return [judge_stop(scene, index, event) for index, event in scene.of(*INTERRUPTION)]


def judge_holds(scene: Scene) -> list[Finding]:
    """Every backchannel, background speech and speech to others; seconds: until the agent stopped, where it did."""
    return [judge_stop(scene, index, event) for index, event in scene.of(*NOT_ADDRESSED)]


def judge_choices(scene: Scene) -> list[Finding]:
    """Interruptions and what is none in one list, the outcome led by the kind: "interruption_yielded"."""
    both = [(e, judge_stop(scene, i, e)) for i, e in scene.of(*INTERRUPTION, *NOT_ADDRESSED)]
    unread = ("not_exercised", "censored", "outside")
    return [f if f.outcome in unread else f._replace(outcome=f"{e.kind}_{f.outcome}") for e, f in both]


def judge_stop(scene: Scene, index: int, event: Event) -> Finding:
    """One event against the agent's speech under way at its onset."""
    if bad := scene.unusable(event):
        return Finding(index, bad[0], why=bad[1])
    s = scene.settings
    user = evidence(event.kind, "user", Span(event.start, event.end), event.source)
    held = at(scene.takes, event.start)
    if held is None:
        return Finding(index, "not_exercised", (user,), why="the agent was not speaking")
    shown = (user, scene.span("speech", held))
    after = held.end - event.start
    if after > s.react_within:
        outcome = TALKED_ON.get(event.kind, "continued")
        return Finding(index, outcome, shown, why=f"the agent went on for more than {s.react_within:g} s")
    if held.end >= scene.duration:
        return Finding(index, "censored", shown, why="the recording ends while the agent speaks")
    if again := _taken_up(scene, event, held.end):
        return Finding(index, "resumed", (*shown, scene.span("resumed", again)), after)
    return Finding(index, STOPPED.get(event.kind, "stopped"), shown, after)


def _taken_up(scene: Scene, event: Event, stop: float) -> Span | None:
    """The speech with which the agent goes on after its stop, if it does.

    After an interruption it must begin before the interruption is nearly over (later it is an answer); after
    anything else soon, and before the user's next turn.
    """
    s = scene.settings
    if event.kind in INTERRUPTION:
        again = reply_after(scene, stop, event.end - s.early_reply)
        return again if again is not None and again.start < event.end - s.early_reply else None
    until = max(stop, event.end) + s.resume_within
    following = scene.next_turn(event.start)
    return reply_after(scene, stop, until if following is None else min(until, following))


def judge_answers(scene: Scene) -> list[Finding]:
    """What follows an interruption the agent yielded to; seconds: the answer's start minus the interruption's end."""
    out = []
    for index, event in scene.of(*INTERRUPTION):
        stop = judge_stop(scene, index, event)
        out.append(_answer(scene, event, stop) if stop.outcome == "yielded" else stop._replace(seconds=None))
    return [
        f if f.seconds is not None or f.why else f._replace(why="the agent did not let the user finish") for f in out
    ]


def _answer(scene: Scene, event: Event, stop: Finding) -> Finding:
    assert stop.seconds is not None
    s = scene.settings
    since = max(event.start + stop.seconds, event.end - s.early_reply)
    until = event.end + s.max_wait
    following = scene.next_turn(max(event.end, since))
    until = until if following is None else min(until, following)
    answer = reply_after(scene, since, until)
    if answer is not None:
        outcome = "answered" if answer.start >= event.end else "early"
        return Finding(stop.event, outcome, (*stop.evidence, scene.span("answer", answer)), answer.start - event.end)
    if scene.duration < until:
        return Finding(stop.event, "censored", stop.evidence, why="the recording ends too soon")
    murmur = clip(scene.backchannels, Span(since, until)) if until > since else ()
    if murmur:
        said = (*stop.evidence, scene.span("backchannel", murmur[0]))
        return Finding(stop.event, "backchannelled", said, why="only a backchannel followed the interruption")
    return Finding(stop.event, "silent", stop.evidence, why="no answer followed the interruption")


class Selectivity(NamedTuple):
    """Yielding and keeping together; neither means anything alone."""

    yielded: float | None  # share of exercised interruptions; None: there were none
    kept: float | None  # share of exercised other events
    n_interruptions: int
    n_others: int

    @property
    def balanced(self) -> float | None:
        """The mean of both shares: 0.5 for an agent that always stops, never stops, or stops by chance."""
        return None if self.yielded is None or self.kept is None else (self.yielded + self.kept) / 2


def selectivity(outcomes: Iterable[str]) -> Selectivity:
    """From outcomes of timing.floor_choice, over any number of talks; what was not exercised does not count."""
    sides: tuple[list[bool], list[bool]] = ([], [])
    for outcome in outcomes:
        if outcome in CHOICES:
            sides[not outcome.startswith("interruption")].append(CHOICES[outcome] > 0)
    shares = [sum(side) / len(side) if side else None for side in sides]
    return Selectivity(shares[0], shares[1], len(sides[0]), len(sides[1]))


CHOICES = {
    "interruption_yielded": 1.0,
    "interruption_talked_through": 0.0,
    "interruption_resumed": 0.0,
    **{f"{k}_{o}": v for k in NOT_ADDRESSED for o, v in {"continued": 1.0, "stopped": 0.0, "resumed": 0.0}.items()},
}
UNREAD = (
    "No value, and never a success: not_exercised (the agent was not speaking, or the event never happened), "
    "censored (the recording ends while the agent speaks), outside."
)
_STOP = "the end of the agent's speech (joined over silences under 0.5 s) that is under way at the event's onset"

FIGURES = (
    Figure(
        name="timing.yielded",
        version="1",
        title="Interruptions yielded to",
        unit="share",
        better="higher",
        margin=0.05,
        definition=f"1 if {_STOP} lies at most 2 s after the onset of an interruption, else 0 (talked_through); also 0 "
        "if the agent takes the floor again more than 0.5 s before the interruption ends (resumed). Read it with "
        "timing.kept_floor: an agent that always stops has 1 here.",
        degenerate=UNREAD,
        rule=judge_stops,
        kinds=INTERRUPTION,
        values={"yielded": 1.0, "talked_through": 0.0, "resumed": 0.0},
    ),
    Figure(
        name="timing.stop_latency",
        version="1",
        title="Time until the agent yields",
        unit="s",
        better="lower",
        margin=0.1,
        definition=f"From an interruption's onset to {_STOP}, if it lies at most 2 s after the onset.",
        degenerate="No value for talked_through. " + UNREAD,
        rule=judge_stops,
        kinds=INTERRUPTION,
    ),
    Figure(
        name="timing.interruption_answered",
        version="1",
        title="Interruptions answered",
        unit="share",
        better="higher",
        margin=0.05,
        definition="1 if the agent yielded to an interruption and took the floor within 3 s of its end (from 0.5 s "
        "before it: early), else 0.",
        degenerate=UNREAD,
        rule=judge_answers,
        kinds=INTERRUPTION,
        values={
            "answered": 1.0,
            "early": 1.0,
            "backchannelled": 0.0,
            "silent": 0.0,
            "talked_through": 0.0,
            "resumed": 0.0,
        },
    ),
    Figure(
        name="timing.interruption_latency",
        version="1",
        title="Response latency after an interruption",
        unit="s",
        better="lower",
        margin=0.1,
        definition="Start of the answer minus the end of the interruption, signed, where the agent yielded.",
        degenerate="No value where it did not yield or did not answer. " + UNREAD,
        rule=judge_answers,
        kinds=INTERRUPTION,
    ),
    Figure(
        name="timing.kept_floor",
        version="1",
        title="Speech kept through what is no interruption",
        unit="share",
        better="higher",
        margin=0.05,
        definition=f"1 if {_STOP} lies more than 2 s after the onset of a backchannel, background speech or speech to "
        "others (continued), else 0: stopped, or resumed (stopped, and took the floor again within 2 s). Read it "
        "with timing.yielded: an agent that never stops has 1 here.",
        degenerate=UNREAD,
        rule=judge_holds,
        kinds=NOT_ADDRESSED,
        values={"continued": 1.0, "stopped": 0.0, "resumed": 0.0},
    ),
    Figure(
        name="timing.floor_choice",
        version="1",
        title="Right choice between yielding and going on",
        unit="share",
        better="higher",
        margin=0.05,
        definition="timing.yielded and timing.kept_floor in one figure, the outcome led by the event's kind, so that "
        "yielding and selectivity stand side by side.",
        degenerate=UNREAD,
        rule=judge_choices,
        kinds=(*INTERRUPTION, *NOT_ADDRESSED),
        values=CHOICES,
    ),
)

"""tau-Voice, EVA-Bench, voice activity projection and SID-Bench as metrics of our runs.

What the benches take from their own simulators we take from a sample's events: background speech and speech to
others are tau-Voice's non-directed speech, an interruption is a turn with which the user broke in. Rates are per
talk; pooled panels come from `tau.panel` and `sid.summary`.
"""

from collections.abc import Callable
from statistics import fmean
from typing import Literal, NamedTuple

from eval.metrics.base import Heard, Metric, Reading, each_event, evidence, whole_talk
from eval.metrics.compat import eva, sid, tau, vap
from protocols.records import Event, MetricInfo
from protocols.timeline import Span, at, clip, intersect, total

LABELS: dict[str, tau.Label] = {
    "backchannel": "backchannel", "background": "non_directed", "side_talk": "non_directed",
}  # fmt: skip
FLOOR = ("interruption", "backchannel", "background", "side_talk")


def other_metrics() -> tuple[Metric, ...]:
    return (*(_tau(figure) for figure in TAU), _eva(), _vap(), _sid())


# --- tau-Voice --------------------------------------------------------------------------------------------------


def tau_events(heard: Heard) -> tau.TalkEvents:
    """The talk on ticks; a user segment is labelled by the event it shares most time with."""
    user = heard.spans("user")
    ticks = tau.Ticks(tau.ticks_of(heard.spans("agent"), heard.duration), tau.ticks_of(user, heard.duration))
    labels: dict[int, tau.Label] = {}
    events = [e for e in heard.talk.events if e.kind != "pause" and e.missed is None]
    for segment in tau.segments(ticks.user, ticks.agent):
        span = Span(segment.start * tau.TICK, segment.end * tau.TICK)
        shared = [(total(intersect((span,), (Span(e.start, e.end),))), e) for e in events]
        best = max(shared, key=lambda pair: pair[0], default=None)
        if best is not None and best[0] > 0 and best[1].kind in LABELS:
            labels[segment.start] = LABELS[best[1].kind]
    return tau.read_talk(ticks._replace(labels=labels))


def _share(right: int, of: int) -> float | None:
    return right / of if of else None


class TauFigure(NamedTuple):
    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    what: str  # for the definition
    value: Callable[[tau.TalkEvents], float | None]


TAU = (
    TauFigure(
        "response_latency", "Response latency", "s", "lower",
        "mean time from a user segment to the agent's answer", lambda t: _mean(t.latencies),
    ),
    TauFigure(
        "response_rate", "Responses", "share", "higher",
        "user segments the agent answers before the user speaks again",
        lambda t: _share(len(t.latencies), len(t.latencies) + t.unanswered),
    ),
    TauFigure(
        "yield_latency", "Yield latency", "s", "lower",
        "mean time from an interruption to the agent's stop", lambda t: _mean(t.yields),
    ),
    TauFigure(
        "yield_rate", "Yields", "share", "higher",
        "interruptions after which the agent stops within 2.0 s",
        lambda t: _share(len(t.yields), len(t.yields) + t.talked_through),
    ),
    TauFigure(
        "agent_interruptions", "Agent interruptions", "per turn", "lower",
        "agent starts while the user speaks, per turn",
        lambda t: _share(t.cut_ins, len(t.latencies) + t.unanswered),
    ),
    TauFigure(
        "keeps_backchannel", "Selectivity, backchannels", "share", "higher",
        "backchannels through which the agent talks on for 1.0 s",
        lambda t: _share(sum(t.backchannel), len(t.backchannel)),
    ),
    TauFigure(
        "keeps_non_directed", "Selectivity, non-directed speech", "share", "higher",
        "background speech and speech to others that neither stops the agent within 1.0 s nor starts it within 2.0 s",
        lambda t: _share(sum(t.non_directed), len(t.non_directed)),
    ),
)  # fmt: skip


def _mean(values: tuple[float, ...]) -> float | None:
    return fmean(values) if values else None


def _tau(figure: TauFigure) -> Metric:
    def read(heard: Heard) -> list[Reading]:
        value = figure.value(heard.once(tau_events))
        return [Reading(None, "none", "the talk has no such event") if value is None else Reading(value, "measured")]

    info = MetricInfo(
        name=f"compat.tau.{figure.name}",
        version="1",
        title=f"{figure.title} (tau-Voice)",
        unit=figure.unit,
        kind="continuous",
        better=figure.better,
        margin=0.1 if figure.unit == "s" else 0.05,
        definition=f"tau-Voice, on 200 ms ticks: {figure.what}.",
        degenerate="No value if the talk has no such event; a last turn that nothing follows is none, as published.",
    )
    return Metric(info, read, whole_talk)


# --- EVA-Bench --------------------------------------------------------------------------------------------------


def eva_turn(heard: Heard, event: Event, until: float) -> eva.Turn:
    """An event as EVA's turn: the agent's speech that begins in it or after it, until the user's next turn."""
    agent = heard.spans("agent")
    within = Span(event.start, event.end)
    user = (clip(heard.spans("user"), within) if event.end > event.start else ()) or (within,)
    own = tuple(s for s in agent if event.start <= s.start < until)
    before = at(agent, event.start)
    return eva.Turn(
        user=user,
        agent=own,
        agent_interrupted=any(s.start < u.end and s.end > u.start for s in own for u in user),
        user_interrupted=before is not None and before.start < event.start,
        before=() if before is None else (before,),
    )


def _eva() -> Metric:
    kinds = ("turn", "interruption")

    def read(heard: Heard) -> list[Reading]:
        events = [(i, e) for i, e in enumerate(heard.talk.events) if e.kind in kinds]
        readings = []
        for index, event in events:
            if event.missed is not None:
                readings.append(Reading(None, "not_exercised", event.missed or "the event did not happen", index))
                continue
            starts = [e.start for _, e in events if e.start >= event.end and e is not event]
            turn = eva_turn(heard, event, min(starts, default=heard.duration))
            score = eva.turn_score(turn)
            shown = tuple(evidence("agent", "agent", s, heard.activity_source) for s in turn.agent)
            outcome = "unanswered" if score is None else _eva_outcome(turn)
            readings.append(Reading(score or 0.0, outcome, None, index, shown))
        return readings

    definition = (
        "EVA-Bench: latency curve (0 at -0.5 s and below, 1 from 0.5 to 2.0 s, 0 from 3.5 s on); at most 0.5 where the "
        "agent broke in; 1 - t / 2 s where the user broke in and the agent spoke on for t."
    )
    degenerate = "A turn without agent speech has 0 (as published for the last turn; EVA-Bench leaves others out)."
    info = MetricInfo("compat.eva.turn_score", "1", "Turn score (EVA-Bench)", "score", "continuous", "higher", 0.05,
                      definition, degenerate)  # fmt: skip
    return Metric(info, read, each_event(*kinds))


def _eva_outcome(turn: eva.Turn) -> str:
    if turn.agent_interrupted:
        return "both_broke_in" if turn.user_interrupted else "agent_broke_in"
    return "user_broke_in" if turn.user_interrupted else "latency"


# --- voice activity projection, SID-Bench -----------------------------------------------------------------------


def _vap() -> Metric:
    def read(heard: Heard) -> list[Reading]:
        found = vap.projection(heard.spans("agent"), heard.spans("user"), heard.duration)
        n = len(found.shifts) + len(found.holds)
        if not n:
            return [Reading(None, "none", "the talk has neither shift nor hold")]
        shown = [evidence("shift", "agent", s, heard.activity_source) for s in found.shifts]
        shown += [evidence("hold", "agent", s, heard.activity_source) for s in found.holds]
        return [Reading(len(found.shifts) / n, "measured", None, None, tuple(shown))]

    definition = (
        "Voice activity projection: shifts among shifts and holds, at mutual silences of at least 0.25 s with one side "
        "alone in the second before and the second after."
    )
    info = MetricInfo("compat.vap.shift_share", "1", "Shifts among shifts and holds (VAP)", "share", "continuous",
                      "none", 0.05, definition, "No value without either.")  # fmt: skip
    return Metric(info, read, whole_talk)


def sid_clip(heard: Heard, event: Event) -> sid.Clip | None:
    """An event while the agent speaks as a clip, with the break at the onset of an interruption; None if the agent
    is silent then. Only a stop inside the event counts."""
    held = at(heard.spans("agent"), event.start)
    if held is None:
        return None
    stopped = held.end <= event.end and held.end < heard.duration
    true_break = 0.0 if event.kind == "interruption" else None
    return sid.Clip(event.end - event.start, true_break, held.end - event.start if stopped else None)


def _sid() -> Metric:
    def read(heard: Heard) -> list[Reading]:
        readings = []
        for index, event in enumerate(heard.talk.events):
            if event.kind not in FLOOR:
                continue
            held = None if event.missed is not None else sid_clip(heard, event)
            if held is None:
                readings.append(Reading(None, "not_exercised", event.missed or "the agent was not speaking", index))
                continue
            true, stopped = held.true_break is not None, held.stop is not None
            outcome = ("hit" if stopped else "miss") if true else ("false_stop" if stopped else "right_hold")
            readings.append(Reading(sid.penalty(held), outcome, None, index))
        return readings

    definition = (
        "SID-Bench: seconds from an interruption's onset to the agent's stop inside it, its duration if there is none; "
        "0 for other events, or their duration if the agent stops inside them."
    )
    info = MetricInfo("compat.sid.penalty", "1", "Penalty time (SID-Bench)", "s", "continuous", "lower", 0.1,
                      definition, "No value where the agent is not speaking at the onset.")  # fmt: skip
    return Metric(info, read, each_event(*FLOOR))

"""Timing, anchored to the events of a sample: how late an answer comes, whether a pause is left to the user, overlap.

Agent speech is read as inter-pausal units (silence of 0.2 s or more ends one). A channel that never speaks is an
outcome of its own and is never rewarded: there is no latency to average, and a pause "held" by an agent that says
nothing in the whole talk counts as 0.
"""

from eval.metrics.base import Heard, Metric, Reading, each_event, evidence, whole_talk
from protocols.records import Event, MetricInfo
from protocols.timeline import Span, Track, at, first_from, intersect, total, utterances

MAX_WAIT = 3.0  # seconds after a turn in which an answer still belongs to it
MIN_TAKE = 0.2  # seconds of agent speech in a pause that take the turn


def read_latency(heard: Heard) -> list[Reading]:
    agent = utterances(heard.spans("agent"))
    turns = heard.events("turn")
    readings = []
    for n, (index, turn) in enumerate(turns):
        user_end = turn.end
        next_turn = turns[n + 1][1].start if n + 1 < len(turns) else None
        window_end = user_end + MAX_WAIT if next_turn is None else min(user_end + MAX_WAIT, next_turn)
        reply = at(agent, user_end)
        if reply is None or reply.start < turn.start:
            reply = first_from(agent, user_end)
        user = evidence("turn", "user", Span(turn.start, turn.end), turn.source)
        if reply is None or reply.start > window_end:
            reply = _last_inside(agent, turn)
        if reply is None:
            if heard.duration < window_end:
                readings.append(Reading(None, "censored", "the recording ends too soon", index, (user,)))
            else:
                readings.append(Reading(None, "silent", f"no answer within {MAX_WAIT:g} s", index, (user,)))
            continue
        answer = evidence("answer", "agent", reply, heard.activity_source)
        outcome = "answered" if reply.start >= user_end else "early"
        readings.append(Reading(reply.start - user_end, outcome, None, index, (user, answer)))
    return readings


def _last_inside(agent: Track, turn: Event) -> Span | None:
    """The last utterance that began inside the turn and was over when the turn was."""
    return next((u for u in reversed(agent) if turn.start <= u.start and u.end <= turn.end), None)


def read_pause_held(heard: Heard) -> list[Reading]:
    agent = utterances(heard.spans("agent"))
    readings = []
    for index, pause in heard.events("pause"):
        span = Span(pause.start, pause.end)
        silence = evidence("pause", "user", span, pause.source)
        taken = intersect(agent, (span,))
        if not agent:
            readings.append(Reading(0.0, "no_agent_speech", None, index, (silence,)))
        elif total(taken) < MIN_TAKE:
            readings.append(Reading(1.0, "held", None, index, (silence,)))
        else:
            take = evidence("take", "agent", taken[0], heard.activity_source)
            readings.append(Reading(0.0, "took", None, index, (silence, take)))
    return readings


def read_overlap(heard: Heard) -> list[Reading]:
    agent, user = heard.spans("agent"), heard.spans("user")
    if not agent or not user:
        silent = "agent" if not agent else "user"
        return [Reading(None, f"no_{silent}_speech", f"the {silent} never speaks, so nothing could overlap")]
    both = intersect(agent, user)
    found = tuple(evidence("overlap", "agent", span, heard.activity_source) for span in both)
    return [Reading(60 * total(both) / heard.duration, "overlap" if both else "none", None, None, found)]


LATENCY = Metric(
    MetricInfo(
        name="timing.latency",
        version="1",
        title="Response latency",
        unit="s",
        kind="continuous",
        better="lower",
        margin=0.1,
        definition="Start of the agent's answer minus the end of the user's turn, signed. The answer is the utterance "
        "under way when the turn ends if it began inside the turn, else the first one after it, else the last one "
        f"inside it. Answers later than {MAX_WAIT:g} s, or after the user's next turn began, do not count.",
        degenerate="No answer: no value, outcome silent; the recording ends too soon: no value, outcome censored.",
    ),
    read_latency,
    each_event("turn"),
)

PAUSE_HELD = Metric(
    MetricInfo(
        name="timing.pause_held",
        version="1",
        title="Pauses left to the user",
        unit="share",
        kind="binary",
        better="higher",
        margin=0.05,
        definition=f"1 if the agent speaks for less than {MIN_TAKE:g} s inside a pause of the user's turn, else 0.",
        degenerate="An agent that says nothing in the whole talk holds no pause: 0, outcome no_agent_speech.",
    ),
    read_pause_held,
    each_event("pause"),
)

OVERLAP = Metric(
    MetricInfo(
        name="timing.overlap",
        version="1",
        title="Overlapping speech",
        unit="s/min",
        kind="continuous",
        better="lower",
        margin=1.0,
        definition="Seconds in which agent and user speak at once, per minute of the talk.",
        degenerate="No value if either side never speaks.",
    ),
    read_overlap,
    whole_talk,
)

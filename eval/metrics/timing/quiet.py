"""Speech nobody asked for: an answer to what was said to somebody else, and speech before the user has said a word.

Quiet is only credited to an agent that speaks somewhere in the talk. Whether an agent should greet is a matter of
policy, so unprompted speech is described and not judged.
"""

from eval.metrics.base import Heard, Metric, Reading, evidence, whole_talk
from eval.metrics.timing.figures import Figure, Finding
from eval.metrics.timing.scene import Scene, reply_after, scene_maker
from eval.metrics.timing.settings import DEFAULT, TimingSettings
from protocols.records import Event, MetricInfo
from protocols.timeline import Span, at, clip, first_from, total

KINDS = ("background", "side_talk")


def judge_quiet(scene: Scene) -> list[Finding]:
    """What a silent agent does about speech not meant for it; seconds: its onset minus the event's, where it spoke."""
    return [_judge(scene, index, event) for index, event in scene.of(*KINDS)]


def _judge(scene: Scene, index: int, event: Event) -> Finding:
    if bad := scene.unusable(event):
        return Finding(index, bad[0], why=bad[1])
    user = evidence(event.kind, "user", Span(event.start, event.end), event.source)
    if at(scene.takes, event.start) is not None:
        return Finding(index, "not_exercised", (user,), why="the agent was speaking")
    if _answer_due(scene, event.start):
        return Finding(index, "not_exercised", (user,), why="an answer to the user's turn was still due")
    until = event.end + scene.settings.quiet_for
    if own := _end_of_turn_after(scene, event.start):
        until = min(until, own)
    spoke = reply_after(scene, event.start, until)
    if spoke is not None:
        return Finding(index, "spoke", (user, scene.span("speech", spoke)), spoke.start - event.start)
    if not scene.speech:
        return Finding(index, "no_agent_speech", (user,), why="the agent never speaks, so its quiet says nothing")
    if scene.duration < until:
        return Finding(index, "censored", (user,), why="the recording ends too soon")
    return Finding(index, "stayed_quiet", (user,), why="the agent stayed quiet")


def _answer_due(scene: Scene, time: float) -> bool:
    """A turn has just ended, and the agent has not taken the floor since it began."""
    wait = scene.settings.max_wait
    for _, turn in scene.of("turn", "interruption"):
        if turn.missed is None and turn.end <= time <= turn.end + wait:
            reply = first_from(scene.takes, turn.start)
            if reply is None or reply.start > time:
                return True
    return False


def _end_of_turn_after(scene: Scene, time: float) -> float | None:
    """When the next turn that ends after `time` does; speech from there on answers that turn."""
    ends = (e.end for _, e in scene.of("turn", "interruption") if e.missed is None and e.end > time)
    return min(ends, default=None)


def unprompted_metric(settings: TimingSettings = DEFAULT) -> Metric:
    """Agent speech before the first thing on the user's channel, or in the whole talk if there is nothing."""
    make = scene_maker(settings, "vad")

    def read(heard: Heard) -> list[Reading]:
        scene = heard.once(make)
        if scene is None or heard.duration <= 0:
            return [Reading(None, "empty", "the recording is empty")]
        prompts = [e.start for _, e in scene.events if e.missed is None]
        until = min([heard.duration, *(p for p in prompts if p >= 0)])
        spoken = clip(scene.speech, Span(0.0, until)) if until > 0 else ()
        shown = tuple(scene.span("speech", span) for span in spoken)
        return [Reading(total(spoken), "spoke" if spoken else "quiet", None, None, shown)]

    info = MetricInfo(
        name="timing.unprompted",
        version="1" + settings.turned(),
        title="Speech before anything was said to it",
        unit="s",
        kind="continuous",
        better="none",
        margin=0.5,
        definition="Seconds the agent speaks before the sample's first event, or in the whole talk if it has none "
        "(silence stimuli): a greeting, or talk to nobody. Outcomes: spoke, quiet.",
        degenerate="A recording without sound has no value.",
    )
    return Metric(info, read, whole_talk)


FIGURES = (
    Figure(
        name="timing.stayed_quiet",
        version="1",
        title="Quiet while others are addressed",
        unit="share",
        better="higher",
        margin=0.05,
        definition="While the agent is silent, the user's channel carries background speech or speech to others: 1 if "
        "the agent does not take the floor from its onset to 2 s after its end (or to the end of the user's own next "
        "turn), else 0. Outcomes: stayed_quiet, spoke.",
        degenerate="No value: not_exercised (the agent was speaking, owed the user an answer, or the event never "
        "happened), no_agent_speech (it says nothing in the whole talk), censored, outside.",
        rule=judge_quiet,
        kinds=KINDS,
        values={"stayed_quiet": 1.0, "spoke": 0.0},
    ),
)

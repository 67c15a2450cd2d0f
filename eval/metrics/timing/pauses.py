"""A pause inside the user's turn: held (left to the user), backchannelled, or took, and when the take began.

Silence is never good: an agent that says nothing in the whole talk holds no pause.
"""

from eval.metrics.base import evidence
from eval.metrics.timing.figures import Figure, Finding
from eval.metrics.timing.scene import Scene
from protocols.records import Event
from protocols.timeline import Span, clip, first_from, intersect, total


def judge_pauses(scene: Scene) -> list[Finding]:
    """The outcome of every pause; seconds: the take's start minus the pause's start (negative: begun before it)."""
    spoken = intersect(scene.speech, scene.takes)
    return [_judge(scene, spoken, index, pause) for index, pause in scene.of("pause")]


def _judge(scene: Scene, spoken: tuple[Span, ...], index: int, pause: Event) -> Finding:
    if bad := scene.unusable(pause):
        return Finding(index, bad[0], why=bad[1])
    span = Span(pause.start, pause.end)
    silence = evidence("pause", "user", span, pause.source)
    shortest = scene.settings.min_take
    if span.duration < shortest:
        return Finding(index, "not_exercised", (silence,), why=f"a pause under {shortest:g} s cannot be taken")
    if not scene.speech:
        return Finding(index, "no_agent_speech", (silence,), why="the agent never speaks")
    taken = clip(spoken, span)
    if total(taken) >= shortest:
        take = first_from(scene.takes, taken[0].start)
        if take is None or take.start > taken[0].start:  # it was under way before
            take = max((t for t in scene.takes if t.start <= taken[0].start), key=lambda t: t.start)
        return Finding(index, "took", (silence, scene.span("take", taken[0])), take.start - pause.start)
    if scene.duration < pause.end:
        return Finding(index, "censored", (silence,), why="the recording ends inside the pause")
    murmur = clip(scene.backchannels, span)
    if murmur:
        said = (silence, scene.span("backchannel", murmur[0]))
        return Finding(index, "backchannelled", said, why="the agent did not take the turn")
    return Finding(index, "held", (silence,), why="the agent did not take the turn")


FIGURES = (
    Figure(
        name="timing.pause_held",
        version="2",
        title="Pauses left to the user",
        unit="share",
        better="higher",
        margin=0.05,
        definition="1 if speech that takes the floor covers less than 0.2 s of a pause in the user's turn, else 0. "
        "Outcomes: held, backchannelled (a backchannel leaves the turn to the user: 1), took.",
        degenerate="An agent that says nothing in the whole talk holds no pause: 0, outcome no_agent_speech. A pause "
        "that never happened or is under 0.2 s is not_exercised, one the recording ends in censored: no value.",
        rule=judge_pauses,
        kinds=("pause",),
        values={"held": 1.0, "backchannelled": 1.0, "took": 0.0, "no_agent_speech": 0.0},
    ),
    Figure(
        name="timing.pause_take",
        version="1",
        title="Time until a pause is taken",
        unit="s",
        better="none",
        margin=0.1,
        definition="Start of the speech that takes a pause minus the start of the pause; negative if it began before.",
        degenerate="No value for pauses that were not taken.",
        rule=judge_pauses,
        kinds=("pause",),
    ),
)

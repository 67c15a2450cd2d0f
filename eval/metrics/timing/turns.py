"""The end of a user's turn: answered, early, backchannelled, silent, talked_over or censored; and cut-ins before it.

Latency is signed and never clamped. The answer is looked for among speech that takes the floor; it may begin
inside the turn (then it is early), but speech that began before the turn answers something else.
"""

from eval.metrics.base import evidence
from eval.metrics.timing.figures import Figure, Finding
from eval.metrics.timing.scene import Scene, reply_after
from protocols.records import Event
from protocols.timeline import Span, at, clip

OUTCOMES = (
    "Outcomes: answered (it begins at or after the turn's end), early (before it), backchannelled (nothing but a "
    "backchannel), silent, talked_over (the agent spoke before the turn began and still when it ended, and nothing "
    "new after it), censored (the recording ends too soon), not_exercised (the turn never happened), outside."
)


def judge_turns(scene: Scene) -> list[Finding]:
    """The outcome of every turn; seconds: the answer's start minus the turn's end."""
    return [_judge(scene, index, turn) for index, turn in scene.of("turn")]


def _judge(scene: Scene, index: int, turn: Event) -> Finding:
    if bad := scene.unusable(turn):
        return Finding(index, bad[0], why=bad[1])
    user = evidence("turn", "user", Span(turn.start, turn.end), turn.source)
    wait = scene.settings.max_wait
    following = scene.next_turn(turn.end)
    until = turn.end + wait if following is None else min(turn.end + wait, following)
    under_way = at(scene.takes, turn.end)
    reply = under_way if under_way is not None and under_way.start >= turn.start else None
    reply = reply or reply_after(scene, turn.end, until) or _last_inside(scene, turn)
    if reply is not None:
        outcome = "answered" if reply.start >= turn.end else "early"
        return Finding(index, outcome, (user, scene.span("answer", reply)), reply.start - turn.end)
    if scene.duration < until:
        return Finding(index, "censored", (user,), why="the recording ends too soon")
    if under_way is not None:
        said = (user, scene.span("speech", under_way))
        return Finding(index, "talked_over", said, why="the agent talked on through the whole turn")
    murmur = clip(scene.backchannels, Span(turn.end, until)) if until > turn.end else ()
    if murmur:
        said = (user, scene.span("backchannel", murmur[0]))
        return Finding(index, "backchannelled", said, why="only a backchannel followed the turn")
    return Finding(index, "silent", (user,), why=f"no answer within {until - turn.end:g} s")


def _last_inside(scene: Scene, turn: Event) -> Span | None:
    """The last take that began inside the turn and was over when the turn was."""
    return next((t for t in reversed(scene.takes) if turn.start <= t.start and t.end <= turn.end), None)


def judge_cut_ins(scene: Scene) -> list[Finding]:
    """Did the agent take the floor inside a turn; seconds: the first take's start minus the turn's end, negative."""
    out = []
    for index, turn in scene.of("turn"):
        if bad := scene.unusable(turn):
            out.append(Finding(index, bad[0], why=bad[1]))
            continue
        user = evidence("turn", "user", Span(turn.start, turn.end), turn.source)
        inside = [t for t in scene.takes if turn.start <= t.start < turn.end - scene.settings.early_reply]
        if inside:
            shown = (user, *(scene.span("cut-in", t) for t in inside))
            out.append(Finding(index, "cut_in", shown, inside[0].start - turn.end))
        elif not scene.speech:
            out.append(Finding(index, "no_agent_speech", (user,), why="the agent never speaks"))
        elif scene.duration < turn.end:
            out.append(Finding(index, "censored", (user,), why="the recording ends too soon"))
        else:
            out.append(Finding(index, "waited", (user,), why="the agent did not cut in"))
    return out


FIGURES = (
    Figure(
        name="timing.latency",
        version="2",
        title="Response latency",
        unit="s",
        better="lower",
        margin=0.1,
        definition="Start of the agent's answer minus the end of the user's turn, signed. The answer is the speech "
        "under way when the turn ends if it began inside the turn, else the first that begins within 3 s and before "
        "the user's next turn, else the last one inside the turn. Speech joins over silences under 0.5 s; a "
        "backchannel (under 1 s, at most 3 words, all of them acknowledgements) is no answer. " + OUTCOMES,
        degenerate="No value for backchannelled, silent, talked_over, censored, not_exercised and outside.",
        rule=judge_turns,
        kinds=("turn",),
    ),
    Figure(
        name="timing.answered",
        version="1",
        title="Turns answered",
        unit="share",
        better="higher",
        margin=0.05,
        definition="1 if the answer to a turn (see timing.latency) begins at its end or within 3 s, else 0. "
        + OUTCOMES,
        degenerate="An agent that says nothing answers nothing: 0. No value for censored, not_exercised and outside.",
        rule=judge_turns,
        kinds=("turn",),
        values={"answered": 1.0, "early": 0.0, "backchannelled": 0.0, "silent": 0.0, "talked_over": 0.0},
    ),
    Figure(
        name="timing.cut_in",
        version="1",
        title="Turns cut into",
        unit="share",
        better="lower",
        margin=0.05,
        definition="1 if the agent begins speech that takes the floor inside the user's turn, more than 0.5 s before "
        "its end, else 0.",
        degenerate="An agent that says nothing in the whole talk has no value, outcome no_agent_speech.",
        rule=judge_cut_ins,
        kinds=("turn",),
        values={"cut_in": 1.0, "waited": 0.0},
    ),
)

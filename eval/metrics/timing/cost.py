"""One figure in seconds, as the average penalty time of barge-in detectors: what each event cost the user.

Seconds make both kinds of error comparable and cannot be improved by always stopping or by never speaking: a hit
costs its latency, a false take the whole stimulus, a miss the rest of the time, a right hold nothing.
"""

from eval.metrics.timing.figures import Figure, Finding
from eval.metrics.timing.floor import INTERRUPTION, NOT_ADDRESSED, judge_stop
from eval.metrics.timing.pauses import judge_pauses
from eval.metrics.timing.quiet import judge_quiet
from eval.metrics.timing.scene import Scene
from eval.metrics.timing.turns import judge_turns
from protocols.records import Event

KINDS = ("turn", "pause", *INTERRUPTION, *NOT_ADDRESSED)


def judge_cost(scene: Scene) -> list[Finding]:
    """Seconds each event cost, whatever its kind."""
    events = dict(scene.events)
    quiet = {f.event: f for f in judge_quiet(scene)}
    out = [_priced(f, _turn(scene, events[f.event], f)) for f in judge_turns(scene)]
    out += [_priced(f, _pause(scene, f)) for f in judge_pauses(scene)]
    for index, event in scene.of(*INTERRUPTION, *NOT_ADDRESSED):
        found = judge_stop(scene, index, event)
        if found.outcome == "not_exercised" and event.missed is None and index in quiet:
            found = quiet[index]
        out.append(_priced(found, _floor(scene, event, found)))
    return sorted(out)


def _priced(finding: Finding, seconds: float | None) -> Finding:
    why = None if seconds is not None else finding.why or "nothing can be priced"
    return finding._replace(seconds=seconds, why=why)


def _turn(scene: Scene, turn: Event, found: Finding) -> float | None:
    if found.seconds is not None:
        near = found.seconds >= -scene.settings.early_reply
        return abs(found.seconds) if near else turn.end - turn.start
    if found.outcome == "talked_over":
        return turn.end - turn.start
    if found.outcome not in ("silent", "backchannelled"):
        return None
    following = scene.next_turn(turn.end)
    return (scene.duration if following is None else min(following, scene.duration)) - turn.end


def _pause(scene: Scene, found: Finding) -> float | None:
    return {"held": 0.0, "backchannelled": 0.0, "took": scene.stimulus}.get(found.outcome)


def _floor(scene: Scene, event: Event, found: Finding) -> float | None:
    if found.outcome == "yielded":
        return found.seconds
    if found.outcome in ("continued", "stayed_quiet"):
        return 0.0
    if found.outcome == "resumed" and event.kind not in INTERRUPTION:
        speech, again = found.evidence[-2:]
        return again.start - speech.end
    if found.outcome in ("talked_through", "resumed"):
        return scene.duration - event.start
    return scene.stimulus if found.outcome in ("stopped", "spoke") else None


FIGURES = (
    Figure(
        name="timing.cost",
        version="1",
        title="Time lost per event",
        unit="s",
        better="lower",
        margin=0.1,
        definition="Seconds an event cost. Turn: the size of the latency; its whole length if the agent came in more "
        "than 0.5 s early or talked over it; the time left (to the user's next turn or the end) if nothing answered. "
        "Pause: 0 if held, else the stimulus's length. Interruption: stop latency; the time left if talked through. "
        "What is no interruption: 0 if the agent went on or stayed quiet, the silence it made if it stopped and "
        "resumed, else the stimulus's length.",
        degenerate="No value for events that were not exercised, censored or outside, and for pauses and speech to "
        "others before an agent that never speaks.",
        rule=judge_cost,
        kinds=KINDS,
    ),
)

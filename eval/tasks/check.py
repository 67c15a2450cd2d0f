"""What makes a sample one that can be played and scored; a fault is one clear error before any talk is held."""

import math
from bisect import bisect_right
from itertools import pairwise

from protocols.errors import InputError
from protocols.records import Cue, Event, Sample
from protocols.timeline import Span, track

SLACK = 2e-3  # seconds a time may be off by rounding


def check(sample: Sample) -> None:
    """Raise InputError unless the cues can be placed and the events are sorted, inside the audio and in agreement."""
    if not math.isfinite(sample.length) or sample.length <= 0:
        raise _fault(sample, f"lasts {sample.length:g} s; there is nothing to play")
    for cue in sample.cues:
        _check_cue(sample, cue)
    for event in sample.events:
        _check_event(sample, event)
    starts = [event.start for event in sample.events]
    if starts != sorted(starts):
        raise _fault(sample, "has events that are not in order of their start")
    for kind in ("turn", "pause"):
        spans = [Span(e.start, e.end) for e in sample.events if e.kind == kind]
        for a, b in pairwise(spans):
            if b.start < a.end - SLACK:
                raise _fault(sample, f"has two {kind} events that overlap at {b.start:g} s")
    turns = track((e.start, e.end) for e in sample.events if e.kind == "turn")
    ends = [turn.end for turn in turns]
    for pause in (Span(e.start, e.end) for e in sample.events if e.kind == "pause"):
        i = bisect_right(ends, pause.start)  # the first turn that is not over
        if turns and pause.duration > SLACK and not (i < len(turns) and turns[i].start < pause.end):
            raise _fault(sample, f"has a pause at {pause.start:g} s that lies in no turn")


def _check_cue(sample: Sample, cue: Cue) -> None:
    ends = cue.end is not None and cue.end <= cue.start
    if cue.at < 0 or cue.start < 0 or ends or cue.at > sample.length:
        raise _fault(sample, f"places {cue.start:g} to {cue.end} s of {cue.path} at {cue.at:g} of {sample.length:g} s")
    if cue.after_agent is not None and cue.after_agent < 0:
        raise _fault(sample, f"plays {cue.path} {-cue.after_agent:g} s before the agent speaks, which cannot be known")


def _check_event(sample: Sample, event: Event) -> None:
    if event.start < 0 or event.end > sample.length + SLACK:
        raise _fault(
            sample, f"has a {event.kind} from {event.start:g} to {event.end:g} s outside its {sample.length:g} s"
        )
    if event.cue is not None and not 0 <= event.cue < len(sample.cues):
        raise _fault(sample, f"has a {event.kind} that moves with cue {event.cue} of {len(sample.cues)}")
    if event.missed is not None:
        raise _fault(sample, f"has a {event.kind} that was missed, which only a talk can say")


def _fault(sample: Sample, what: str) -> InputError:
    return InputError(f"sample {sample.id} {what}")

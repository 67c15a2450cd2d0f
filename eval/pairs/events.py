"""Turns, interruptions and backchannels of a talk nobody wrote events for, read off who speaks when.

User speech with silences under `turn_gap` inside is one event. If it begins while the agent holds the floor it is a
backchannel where its words are nothing but acknowledgement, and an interruption otherwise; else it is a turn. Such
times carry the error of whatever found the speech, and the event's source says so.
"""

from collections.abc import Sequence

from eval.metrics.timing.scene import stretches
from eval.metrics.timing.settings import is_acknowledgement
from eval.pairs.settings import PairSettings
from protocols.records import Event, Word
from protocols.timeline import Span, Track, at, track, utterances

HELD_FOR = 0.2  # the agent must have held the floor this long for speech over it to be an interruption


def events_of(
    agent: Track, user: Track, user_words: Sequence[Word], source: str, settings: PairSettings
) -> tuple[Event, ...]:
    """The user's events in order of time."""
    holds = tuple(span for span, _ in stretches(utterances(agent), settings.timing.breath))
    out = []
    for span in track(user, gap=settings.turn_gap):
        words = [w.text for w in user_words if span.start <= (w.start + w.end) / 2 < span.end]
        held = at(holds, span.start)
        if held is None or span.start - held.start < HELD_FOR:
            kind = "turn"
        else:
            kind = "backchannel" if is_acknowledgement(words) else "interruption"
        out.append(Event(kind, span.start, span.end, f"{source}/turns", " ".join(words)))  # type: ignore[arg-type]
    return tuple(out)


def words_as_speech(words: Sequence[Word]) -> Track:
    """The time that words cover, as activity, where no detector listened."""
    return utterances(Span(w.start, w.end) for w in words)

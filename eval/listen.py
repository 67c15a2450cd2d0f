"""One recording -> spans and words with their sources, and what is wrong with it.

Scoring reads these rows and never touches sound. Hearing all of a run's talks is `eval.hear_all`'s.
"""

from typing import NamedTuple

import numpy as np

from protocols.contracts import ActivityDetector, Transcriber
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.records import (
    CHANNELS,
    Activity,
    Conversation,
    Event,
    GuardKind,
    Listening,
    Transcript,
)
from protocols.timeline import Track, intersect, total, track

CLIPPED_LEVEL = 0.999
CLIPPED_SHARE = 0.005  # of the samples in which a channel speaks
HEARD = 0.3  # share of the turns' time in which the user must be heard
SHORTER = 1.0  # seconds by which an agent's channel may end before the user's
RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
SAME_RATIO = 0.005  # how far a ratio of lengths may be from a ratio of rates


class Told(NamedTuple):
    """What is known of a talk besides its sound."""

    words: Transcript | None = None  # the agent's; a transcriber is not asked then
    guards: tuple[GuardKind, ...] = ()  # what is wrong that the sound itself does not show


NOTHING = Told()


def hear(
    talk: Conversation,
    audio: Audio,
    sample_rate: int,
    detector: ActivityDetector,
    transcriber: Transcriber | None,
    told: Told = NOTHING,
) -> Listening:
    """One recording, [2, n], through the instruments."""
    agent, user = (detector.spans(channel, sample_rate) for channel in audio)
    transcripts = () if told.words is None else (told.words,)
    if transcriber is not None and told.words is None:
        transcripts = (Transcript("agent", transcriber.source, transcriber.words(audio[0], sample_rate, agent)),)
    return Listening(
        sample=talk.sample,
        take=talk.take,
        activity=tuple(
            Activity(channel, detector.source, spans) for channel, spans in zip(CHANNELS, (agent, user), strict=True)
        ),
        transcripts=transcripts,
        guards=(*told.guards, *guards(audio, sample_rate, agent, user, talk.events)),
    )


def guards(
    audio: Audio, sample_rate: int, agent: Track, user: Track, events: tuple[Event, ...]
) -> tuple[GuardKind, ...]:
    """What is wrong with a recording, [2, n], so that a broken one is never scored as a good one."""
    found: list[GuardKind] = []
    turns = track((e.start, e.end) for e in events if e.kind == "turn" and e.missed is None)
    if not agent:
        found.append("agent_silent")
    if turns and _coverage(turns, user) < HEARD:
        if _coverage(turns, agent) > 0.7:
            found.append("swapped")
        else:
            found.append("misplaced" if user else "user_silent")
    if any(_clipped(channel, sample_rate, spans) for channel, spans in zip(audio, (agent, user), strict=True)):
        found.append("clipped")
    return tuple(found)


def length_guard(agent: int, user: int) -> GuardKind | None:
    """What two channels' lengths (samples at one rate, from one start) say is wrong with the agent's.

    An agent may go on after the user, and end up to `SHORTER` seconds before. A ratio of lengths that is one of two
    usual rates is a channel that plays too fast or too slow, unless the difference is that small.
    """
    if abs(agent - user) <= SHORTER * SAMPLE_RATE:
        return None
    ratio = agent / user
    if any(abs(ratio / (a / b) - 1) <= SAME_RATIO for a in RATES for b in RATES if a != b):
        return "wrong_rate"
    return "wrong_length" if agent < user else None


def _clipped(channel: Audio, sample_rate: int, spans: Track) -> bool:
    """Counted where the channel speaks, over all of it if it never does: silence must not hide what is clipped."""
    parts = [channel[round(s.start * sample_rate) : round(s.end * sample_rate)] for s in spans]
    sound = np.concatenate(parts) if parts else channel
    return bool(sound.size and np.mean(np.abs(sound) >= CLIPPED_LEVEL) > CLIPPED_SHARE)


def _coverage(turns: Track, spans: Track) -> float:
    return total(intersect(turns, spans)) / total(turns)

"""The listening stage: recordings -> spans and words with their sources, and what is wrong with a recording.

Each line of `listening.jsonl` stands for one talk; talks that have one are not heard again. Scoring reads these
lines and never touches sound.
"""

from collections.abc import Callable

import numpy as np

from protocols.contracts import ActivityDetector, Transcriber
from protocols.duplex import Audio
from protocols.records import (
    CHANNELS,
    Activity,
    Conversation,
    Event,
    GuardKind,
    Listening,
    Transcript,
)
from protocols.store import Run
from protocols.timeline import Span, Track, intersect, total

CLIPPED_LEVEL = 0.999
CLIPPED_SHARE = 0.001  # of a channel's samples


def listen(
    run: Run,
    detector: ActivityDetector,
    transcriber: Transcriber | None,
    wants_words: Callable[[str], bool] = lambda sample: True,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Hear every talk of a run that was not heard yet; how many that were."""
    heard = {row.key for row in run.read(Listening)}
    done = len(heard)
    progress(done)
    with run.writing() as writing:
        for talk in run.read(Conversation):
            if talk.recording is None or talk.key in heard:
                continue
            words = transcriber if wants_words(talk.sample) else None
            writing.append(hear(talk, run.read_audio(talk.recording), talk.recording.sample_rate, detector, words))
            done += 1
            progress(done)
    return done - len(heard)


def hear(
    talk: Conversation, audio: Audio, sample_rate: int, detector: ActivityDetector, transcriber: Transcriber | None
) -> Listening:
    """One recording, [2, n], through the instruments."""
    agent, user = (detector.spans(channel, sample_rate) for channel in audio)
    transcripts: tuple[Transcript, ...] = ()
    if transcriber is not None:
        transcripts = (Transcript("agent", transcriber.source, transcriber.words(audio[0], sample_rate, agent)),)
    return Listening(
        sample=talk.sample,
        take=talk.take,
        activity=tuple(
            Activity(channel, detector.source, spans) for channel, spans in zip(CHANNELS, (agent, user), strict=True)
        ),
        transcripts=transcripts,
        guards=guards(audio, agent, user, talk.events),
    )


def guards(audio: Audio, agent: Track, user: Track, events: tuple[Event, ...]) -> tuple[GuardKind, ...]:
    """What is wrong with a recording, so that a broken one is never scored as a good one."""
    found: list[GuardKind] = []
    turns = tuple(Span(e.start, e.end) for e in events if e.kind == "turn" and e.end > e.start)
    if not agent:
        found.append("agent_silent")
    if turns and _coverage(turns, agent) > 0.7 and _coverage(turns, user) < 0.3:
        found.append("swapped")
    elif turns and not user:
        found.append("user_silent")
    if any(np.mean(np.abs(channel) >= CLIPPED_LEVEL) > CLIPPED_SHARE for channel in audio):
        found.append("clipped")
    return tuple(found)


def _coverage(turns: Track, spans: Track) -> float:
    return total(intersect(turns, spans)) / total(turns)

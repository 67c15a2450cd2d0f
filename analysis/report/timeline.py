"""One talk of a run as numbers: levels, speech by detector, words by source, events, and what each score rests on.

`analysis.report.timeline_page` draws it. What an outcome is worth follows from the metric's own card: a share is good
or bad, a figure in seconds is neither.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from protocols.duplex import Audio
from protocols.errors import InputError, unknown_name
from protocols.records import (
    Activity,
    Conversation,
    Event,
    Key,
    Listening,
    MetricInfo,
    Sample,
    Score,
    Transcript,
)
from protocols.store import Run

FLOOR_DB = -60.0  # level drawn as nothing
Worth = Literal["good", "bad", "open"]


class Outcome(msgspec.Struct, frozen=True):
    """A score, named by its metric's title, and what it is worth."""

    title: str
    unit: str
    worth: Worth
    score: Score


class Timeline(msgspec.Struct, frozen=True):
    """Everything a picture of one talk shows. Times are seconds on the recording's clock."""

    system: str
    sample: str
    take: int
    text: str
    duration: float
    agent_level: tuple[float, ...]  # 0 to 1 per step of the same length
    user_level: tuple[float, ...]
    activity: tuple[Activity, ...]
    transcripts: tuple[Transcript, ...]
    events: tuple[Event, ...]
    outcomes: tuple[Outcome, ...]
    guards: tuple[str, ...]
    sound: Path


def timeline(run: Run, sample: str, take: int = 0, steps: int = 800) -> Timeline:
    """The talk of that sample and take; `steps` levels per channel."""
    key = Key(sample, take)
    talk = _last(run, key)
    if talk.recording is None:
        raise InputError(f"{sample}, take {take} of {run.path} has no recording: {talk.reason}")
    return timelines(run, [key], steps)[key]


def timelines(run: Run, keys: Collection[Key], steps: int = 800) -> dict[Key, Timeline]:
    """Those talks of a run that have a recording; every file of the run is read once."""
    if not keys:
        return {}
    talks = {talk.key: talk for talk in run.read(Conversation) if talk.key in keys}
    heard = {row.key: row for row in run.read(Listening) if row.key in keys}
    texts = {s.id: s.text for s in run.read(Sample)}
    scores: dict[Key, list[Score]] = {}
    for score in run.read(Score):
        if score.key in talks:
            scores.setdefault(score.key, []).append(score)
    return {
        key: _timeline(run, talk, heard.get(key), texts.get(key.sample, ""), scores.get(key, []), steps)
        for key, talk in talks.items()
        if talk.recording is not None
    }


def _timeline(
    run: Run, talk: Conversation, heard: Listening | None, text: str, scores: Sequence[Score], steps: int
) -> Timeline:
    assert talk.recording is not None
    audio = run.read_audio(talk.recording)
    return Timeline(
        system=run.info.system,
        sample=talk.sample,
        take=talk.take,
        text=text,
        duration=talk.recording.duration,
        agent_level=levels(audio[0], steps),
        user_level=levels(audio[1], steps),
        activity=heard.activity if heard else (),
        transcripts=(*talk.transcripts, *(heard.transcripts if heard else ())),
        events=talk.events,
        outcomes=_outcomes(run, scores),
        guards=heard.guards if heard else ("not listened to yet",),
        sound=run.path / talk.recording.path,
    )


def levels(audio: Audio, steps: int) -> tuple[float, ...]:
    """RMS level of [n] samples in `steps` stretches (fewer if the sound is shorter), 0 at -60 dB and 1 at 0 dB."""
    edges = np.linspace(0, len(audio), min(steps, len(audio)) + 1).astype(int)[:-1]
    if not edges.size:
        return ()
    power = np.add.reduceat(audio.astype(np.float64) ** 2, edges) / np.diff([*edges, len(audio)])
    level = 10 * np.log10(power + 1e-12)
    return tuple(np.clip(1 - level / FLOOR_DB, 0, 1).round(3).tolist())


def worth(score: Score, info: MetricInfo) -> Worth:
    """Whether an outcome is good; open where there is no value or the figure is no share."""
    if score.value is None or info.kind != "binary" or info.better == "none":
        return "open"
    return "good" if (score.value >= 0.5) == (info.better == "higher") else "bad"


def _outcomes(run: Run, scores: Sequence[Score]) -> tuple[Outcome, ...]:
    cards = {info.name: info for info in run.info.metrics}
    newest = {(s.metric, s.event): s for s in scores if s.metric in cards}
    return tuple(Outcome(cards[s.metric].title, cards[s.metric].unit, worth(s, cards[s.metric]), s)
                 for s in newest.values())  # fmt: skip


def _last(run: Run, key: Key) -> Conversation:
    talks = {talk.key: talk for talk in run.read(Conversation)}
    if key in talks:
        return talks[key]
    takes = sorted(k.take for k in talks if k.sample == key.sample)
    if takes:
        raise InputError(f"{run.path} has take(s) {', '.join(map(str, takes))} of {key.sample}, not {key.take}")
    raise unknown_name("sample", key.sample, {k.sample for k in talks})

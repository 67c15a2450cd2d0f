"""Talks recorded elsewhere as a task: the user's channel of each file is the stimulus, with or without events.

`ID.json` beside a recording may give what is known of it: {"events": [{"kind", "start", "end"}], "text", "answers"}.
Without events, each stretch of user speech with no silence of `TURN_GAP` or more inside is taken for a turn; the
event's source then names the detector, because such times carry its error.
"""

import json
from pathlib import Path

import msgspec

from protocols.audio import read_channel
from protocols.config import from_data
from protocols.contracts import ActivityDetector
from protocols.duplex import SAMPLE_RATE
from protocols.errors import InputError
from protocols.records import Cue, Event, EventKind, Sample
from protocols.timeline import track

SOUNDS = {".wav", ".flac", ".ogg", ".opus"}
TURN_GAP = 1.0


class GivenEvent(msgspec.Struct, forbid_unknown_fields=True):
    kind: EventKind
    start: float
    end: float
    label: str = ""


class Given(msgspec.Struct, forbid_unknown_fields=True):
    """What `ID.json` may say."""

    events: list[GivenEvent] | None = None
    text: str = ""
    answers: list[str] = []


def read_folder(folder: Path, task: str, detector: ActivityDetector) -> list[Sample]:
    """One sample per recording that has a user channel, in order of name."""
    if not folder.is_dir():
        raise InputError(f"no folder of recordings at {folder}")
    samples = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SOUNDS or path.stem.endswith(".agent"):
            continue
        alone = path.stem.endswith(".user")
        samples.append(_sample(folder, path, path.stem.removesuffix(".user"), None if alone else 1, task, detector))
    if not samples:
        raise InputError(f"{folder} holds no two-channel recordings and no .user/.agent pairs")
    if len({s.id for s in samples}) < len(samples):
        raise InputError(f"{folder} holds two recordings of one name (say ID.wav and ID.flac)")
    return samples


def _sample(folder: Path, path: Path, name: str, channel: int | None, task: str, detector: ActivityDetector) -> Sample:
    audio = read_channel(path, channel)
    length = len(audio) / SAMPLE_RATE
    given = _given(folder / f"{name}.json")
    if given.events is None:
        turns = track(detector.spans(audio, SAMPLE_RATE), gap=TURN_GAP)
        events = tuple(Event("turn", t.start, t.end, detector.source) for t in turns)
    else:
        events = tuple(Event(e.kind, e.start, e.end, "given", e.label) for e in given.events)
        if any(not 0 <= e.start <= e.end <= length for e in events):
            raise InputError(f"{folder / name}.json: an event lies outside the {length:.2f} s of {path.name}")
    return Sample(
        id=name,
        task=task,
        cues=(Cue(path=path.name, at=0.0, channel=channel),),
        length=length,
        events=events,
        text=given.text,
        answers=tuple(given.answers),
        cluster=name,
    )


def _given(path: Path) -> Given:
    if not path.is_file():
        return Given()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return from_data(data, Given, str(path))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error

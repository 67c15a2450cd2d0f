"""The words of a finished talk, written down once, both sides by the same recogniser, and the turns they make.

What the system itself says it said is not shown to raters: some systems write words and others do not, and raters
could tell them apart by it. `listening.json` lies in the talk's folder and goes with it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from app.live.away import here
from app.live.folder import read_talk
from protocols.audio import read_sound
from protocols.base import from_json, to_json
from protocols.contracts import ActivityDetector, Transcriber
from protocols.errors import InputError, StoreError
from protocols.records import CHANNELS, Activity, Channel, Listening, Transcript
from protocols.store import write_whole
from protocols.timeline import utterances

FILE = "listening.json"
PAUSE = 0.7  # seconds of silence that end a turn


class Turn(NamedTuple):
    """What one side says between two of its pauses; seconds of the recording as heard."""

    channel: Channel
    start: float
    end: float
    text: str  # "": no words were understood


def is_written(folder: Path) -> bool:
    """Whether a talk's words are written down."""
    return (folder / FILE).is_file()


def write_down(folder: Path, detector: ActivityDetector, transcriber: Transcriber) -> Listening | None:
    """Listen to both sides of a talk as heard; None if it has no sound."""
    record = read_talk(folder)
    if record.heard is None:
        return None
    sound = read_sound(here(folder / record.heard.path))
    spans = [detector.spans(channel, sound.sample_rate) for channel in sound.samples]
    both = list(zip(CHANNELS, sound.samples, spans, strict=True))
    found = Listening(
        record.id, 0,
        tuple(Activity(channel, detector.source, spoken) for channel, _, spoken in both),
        tuple(
            Transcript(channel, transcriber.source, transcriber.words(audio, sound.sample_rate, spoken))
            for channel, audio, spoken in both
        ),
    )  # fmt: skip
    write_whole(folder / FILE, msgspec.json.format(to_json(found), indent=1) + b"\n")
    return found


def write_all(
    folders: list[Path], detector: ActivityDetector, transcriber: Transcriber, each: Callable[[int], None]
) -> int:
    """Write down what is not written yet; how many. A talk that cannot be read is an error when the rest is done.
    `each` hears how many were looked at."""
    done, faults = 0, []
    for number, folder in enumerate(folders, 1):
        try:
            done += not is_written(folder) and write_down(folder, detector, transcriber) is not None
        except (StoreError, InputError) as error:
            faults.append(str(error))
        each(number)
    if faults:
        raise InputError("\n".join(faults[:5]))
    return done


def read_words(folder: Path) -> Listening:
    """What was heard in a talk. StoreError if it was not written down."""
    try:
        return from_json((folder / FILE).read_bytes(), Listening)
    except OSError as error:
        raise StoreError(f"the words of {folder.name} are not written down: {error.strerror}") from error


def turns_of(heard: Listening) -> list[Turn]:
    """Both sides' turns in the order they begin."""
    found = []
    for one in heard.activity:
        words = [word for said in heard.transcripts if said.channel == one.channel for word in said.words]
        turns = utterances(one.spans, PAUSE)
        texts: list[list[str]] = [[] for _ in turns]
        for word in words if turns else ():
            middle = (word.start + word.end) / 2
            nearest = min(range(len(turns)), key=lambda k: max(turns[k].start - middle, middle - turns[k].end))
            texts[nearest].append(word.text)
        found += [Turn(one.channel, t.start, t.end, " ".join(said)) for t, said in zip(turns, texts, strict=True)]
    return sorted(found, key=lambda turn: (turn.start, turn.end))

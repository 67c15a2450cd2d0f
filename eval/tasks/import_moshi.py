"""moshi-finetune data as tasks: stereo files (left agent, right user) with `{"alignments": [[word, [s, e], speaker]]}`.

A folder is named by its .jsonl manifest ({"path", "duration"} a line) or holds the sounds itself, at most two folders
deep. The words are the main speaker's, the agent's; where the file also has another speaker's, those date the user's
turns, otherwise an activity detector does and the events name it.
"""

import json
from pathlib import Path
from typing import NamedTuple

import msgspec

from protocols.audio import channel_of, read_sound
from protocols.contracts import ActivityDetector
from protocols.duplex import SAMPLE_RATE
from protocols.errors import InputError
from protocols.records import Cue, Event, Sample, Task, Word
from protocols.timeline import track

METRICS = ("timing.latency", "timing.overlap")
MAIN = "SPEAKER_MAIN"
SOUNDS = {".wav", ".flac"}
TURN_GAP = 1.0


class Alignments(msgspec.Struct):
    alignments: list[tuple[str, tuple[float | None, float | None], str]]


class Entry(msgspec.Struct):
    path: str
    duration: float | None = None


class Words(NamedTuple):
    """What is said in a file, by channel; None where the file does not say."""

    agent: tuple[Word, ...] | None
    user: tuple[Word, ...] | None


def moshi_files(folder: Path) -> dict[str, Path]:
    """Sample id -> stereo file, in order."""
    if not folder.is_dir():
        raise InputError(f"no folder at {folder}")
    manifests = sorted(folder.glob("*.jsonl"))
    files = [f for m in manifests for f in _listed(m)] if manifests else sorted(
        p for pattern in ("*", "*/*", "*/*/*") for p in folder.glob(pattern) if p.suffix.lower() in SOUNDS
    )  # fmt: skip
    if not files:
        raise InputError(f"{folder} holds neither a .jsonl manifest with entries nor .wav files")
    made: dict[str, Path] = {}
    for file in dict.fromkeys(files):
        name = str(file.relative_to(folder).with_suffix(""))
        if name in made:
            raise InputError(f"{folder} holds two files of one name: {made[name]} and {file}")
        made[name] = file
    return made


def moshi_tasks(folder: Path, detector: ActivityDetector, limit: int | None = None) -> tuple[Task, ...]:
    """One task, `talk`: the user's channel of each file is the stimulus."""
    files = list(moshi_files(folder).items())[:limit]
    return (Task("talk", "1", METRICS, tuple(_sample(name, file, folder, detector) for name, file in files)),)


def _sample(name: str, file: Path, root: Path, detector: ActivityDetector) -> Sample:
    sound = read_sound(file)
    if sound.samples.shape[0] != 2:
        raise InputError(f"{file} has {sound.samples.shape[0]} channel(s); left agent, right user are needed")
    user = channel_of(sound, file, 1)
    length = len(user) / SAMPLE_RATE
    said = moshi_words(file).user
    if said is None:
        spans, source = track(detector.spans(user, SAMPLE_RATE), gap=TURN_GAP), detector.source
    else:
        spans, source = track(((w.start, min(w.end, length)) for w in said), gap=TURN_GAP), "given:alignments"
    return Sample(
        id=name,
        task="talk",
        cues=(Cue(path=str(file.relative_to(root)), at=0.0, channel=1),),
        length=length,
        events=tuple(Event("turn", s.start, s.end, source) for s in spans),
        text="" if said is None else " ".join(w.text for w in said),
        cluster=name,
    )


def moshi_words(file: Path) -> Words:
    """The words beside a sound file. A word without both times is passed over: it cannot be placed."""
    path = file.with_suffix(".json")
    if not path.is_file():
        return Words(None, None)
    try:
        entries = msgspec.convert(json.loads(path.read_text(encoding="utf-8")), Alignments).alignments
        words = [(Word(text, start, end), speaker) for text, (start, end), speaker in entries
                 if start is not None and end is not None]  # fmt: skip
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise InputError(f"{path} is not as moshi-finetune writes it: {error}") from error
    agent = tuple(sorted((w for w, speaker in words if speaker == MAIN), key=lambda w: w.start))
    user = tuple(sorted((w for w, speaker in words if speaker != MAIN), key=lambda w: w.start))
    return Words(agent, user or None)


def _listed(manifest: Path) -> list[Path]:
    """The files a manifest names, relative to it."""
    files = []
    for number, line in enumerate(manifest.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except msgspec.DecodeError as error:
            raise InputError(f"{manifest}, line {number}: {error}") from error
        file = manifest.parent / entry.path
        if ".." in Path(entry.path).parts or Path(entry.path).is_absolute():
            raise InputError(f"{manifest}, line {number}: {entry.path} lies outside the manifest's folder")
        if not file.is_file():
            raise InputError(f"{manifest}, line {number}: no sound file at {file}")
        files.append(file)
    return files

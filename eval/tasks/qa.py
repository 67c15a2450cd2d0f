"""A question set as a task: `qa:PLACE` or `qa:PLACE@OVERLAY`, where PLACE is a file, a folder or `hub:NAME`.

Questions that come without recordings are spoken (`eval.tasks.aloud`), and their edges are exact; in recordings the
activity detector finds them. Of all this a user is told in notes, and of the licence.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec

from eval.speak import default_speaker, speech_cache
from eval.tasks.aloud import Text, Watch, ask_aloud, unwatched
from eval.tasks.qa_hub import read_hub
from eval.tasks.qa_overlay import corrected, load_overlay
from eval.tasks.qa_tables import Item, Table, read_table
from protocols.audio import channel_of, read_sound
from protocols.contracts import ActivityDetector, Speaker
from protocols.duplex import SAMPLE_RATE
from protocols.errors import InputError
from protocols.records import Cue, Event, Sample, Task

TASK = "qa"
METRICS = (
    "qa.text", "qa.speech", "qa.gap", "qa.text.tokens", "qa.speech.tokens", "qa.text.substring", "qa.speech.substring",
    "qa.floor.canned", "qa.floor.echo", "speech.wer", "speech.rate", "speech.answer_words", "speech.answer_seconds",
    "timing.latency", "timing.overlap",
)  # fmt: skip
OVERLAY_METRICS = ("qa.text.overlay", "qa.speech.overlay")


class Asked(NamedTuple):
    """A question set ready to be asked."""

    name: str
    root: Path  # what the cues are relative to
    task: Task
    notes: tuple[str, ...]


class Place(NamedTuple):
    """What a name names."""

    table: str
    overlay: str | None


def parse(place: str) -> Place:
    """PLACE@OVERLAY in its two parts; an @ that belongs to an existing path stays in it."""
    if Path(place).expanduser().exists() or "@" not in place:
        return Place(place, None)
    table, _, overlay = place.rpartition("@")
    return Place(table, overlay)


def read_qa(
    place: str,
    detector: ActivityDetector,
    limit: int | None = None,
    speaker: Speaker | None = None,
    cache: Path | None = None,
    watch: Watch = unwatched,
) -> Asked:
    """The set at a place.

    limit: the first so many questions; speaker: who asks what has no recording; cache: where sounds are kept.
    """
    named = parse(place)
    cache = speech_cache() if cache is None else cache
    on_hub, _, hub_name = named.table.partition(":")
    table = read_hub(hub_name, cache) if on_hub == "hub" else read_table(Path(named.table).expanduser())
    overlay = None if named.overlay is None else corrected(table.items, load_overlay(named.overlay))
    items = table.items[:limit]
    notes = [table.licence]
    if items[0].sound is None:
        root, speaker = cache, speaker or default_speaker()
        aloud = ask_aloud([Text(item.id, item.text, item.voice) for item in items], speaker, root, watch)
        samples = [_sample(item, *said) for item, said in zip(items, aloud, strict=True)]
        voices = {said.voice for said in aloud}
        notes.append(f"{len(items)} questions spoken by {speaker.source} in {len(voices)} voice(s), kept in {root}")
    else:
        root = table.folder
        with watch("reading", len(items)) as step:
            samples = []
            for item in items:
                samples.append(_recorded(item, table, detector))
                step(len(samples))
    if overlay is not None:
        samples = [_with_overlay(sample, overlay[item.id]) for sample, item in zip(samples, items, strict=True)]
        changed = sum(overlay[item.id] != item.answers for item in items)
        notes.append(f"the overlay {named.overlay} changes {changed} of {len(items)} questions")
    metrics = METRICS if overlay is None else (*METRICS[:3], *OVERLAY_METRICS, *METRICS[3:])
    name = "qa:" + (hub_name if on_hub == "hub" else Path(named.table).expanduser().resolve().name)
    name += "" if named.overlay is None else f"@{Path(named.overlay).name}"
    return Asked(name, root, Task(TASK, "1", metrics, tuple(samples)), tuple(notes))


def _recorded(item: Item, table: Table, detector: ActivityDetector) -> Sample:
    file = _find(item, table.folder)
    audio = channel_of(read_sound(file), file)
    spans = detector.spans(audio, SAMPLE_RATE)
    if not spans:
        raise InputError(f"question {item.id!r}: no speech was found in {file}")
    turn = Event("turn", spans[0].start, spans[-1].end, detector.source)
    cue = Cue(path=str(file.relative_to(table.folder)), at=0.0)
    return _sample(item, cue, len(audio) / SAMPLE_RATE, turn, item.voice)


def _find(item: Item, folder: Path) -> Path:
    name = item.sound or ""
    for file in (folder / name, *(folder / sub / name for sub in ("wav", "audio", "audios"))):
        if "\0" not in name and file.is_file() and file.is_relative_to(folder):
            return file
    raise InputError(f"question {item.id!r}: no sound file {name!r} in {folder} or its wav or audio folder")


def _sample(item: Item, cue: Cue, duration: float, turn: Event, voice: str | None) -> Sample:
    return Sample(
        id=f"{TASK}/{item.id}",
        task=TASK,
        cues=(cue,),
        length=duration,
        events=(turn,),
        text=item.text,
        answers=item.answers,
        cluster=item.id,
        tags=() if voice is None else (f"voice:{voice}",),
    )


def _with_overlay(sample: Sample, answers: tuple[str, ...]) -> Sample:
    return msgspec.structs.replace(sample, overlay=answers)

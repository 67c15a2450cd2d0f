"""Full-Duplex-Bench folders (v1, v1.5) as tasks: `{set}/{id}/input.wav` with its JSON files, events as they are given.

Written from a description of the layout. The one non-obvious decision: each set's name says what its times mean; a set
of another name is recognised by the file it holds. Times that are null, or lie outside the sound, are errors that name
the file, because an event in the wrong place would be scored without a word. Turns that are not dated (pause sets
without words, what comes before v1.5's overlaps) are a detector's, by name. v1.5's `clean_input.wav`, the talk without
its overlap, is a sample of its own in a set of its own ("user_backchannel-clean"), one cluster with its twin: what an
agent does at that moment without cause. Output files are `eval.import_run`'s.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from protocols.audio import read_channel
from protocols.contracts import ActivityDetector
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.errors import InputError
from protocols.records import Cue, Event, EventKind, Sample, Task
from protocols.timeline import Span

T = TypeVar("T")
METRICS = (
    "timing.latency",
    "timing.pause_held",
    "timing.yielded",
    "timing.stop_latency",
    "timing.kept_floor",
    "timing.overlap",
    "compat.fdb.pause_tor",
    "compat.fdb.turn_tor",
    "compat.fdb.turn_latency",
    "compat.fdb.interruption_tor",
    "compat.fdb.interruption_latency",
    "compat.fdb.backchannel_tor",
    "compat.fdb.backchannel_freq",
    "compat.fdb15.stop_latency",
    "compat.fdb15.response_latency",
)
V15: dict[str, EventKind] = {
    "user_interruption": "interruption",
    "user_backchannel": "backchannel",
    "talking_to_other": "side_talk",
    "background_speech": "background",
}  # v1.5: the set's name says what `metadata.json` dates
ROUNDING = 0.05  # seconds an event may end after the sound
CLEAN = "-clean"  # ends the name of a set of v1.5's clean twins


class Place(NamedTuple):
    """Where a sample's files lie."""

    folder: Path
    prefix: str = ""  # "clean_" for a twin

    def file(self, name: str) -> Path:
        return self.folder / f"{self.prefix}{name}"


class Marked(msgspec.Struct):
    """An entry of pause.json, turn_taking.json or interrupt.json; further keys are allowed."""

    timestamp: tuple[float, float]
    text: str = ""
    interrupt: str = ""


class Metadata(msgspec.Struct):
    timestamps: tuple[float, float]
    context_text: str = ""
    current_turn_text: str = ""


class Item(msgspec.Struct):
    text: str
    timestamp: tuple[float | None, float | None]


class Spoken(msgspec.Struct):
    item: list[Item]


class Given(NamedTuple):
    """What a sample's files say."""

    events: tuple[Event, ...]
    text: str


def fdb_samples(folder: Path) -> dict[str, Place]:
    """Sample id ("set/id") -> its files, in order; numbers count as numbers, a clean twin follows its sample."""
    if not folder.is_dir():
        raise InputError(f"no folder at {folder}")
    found = {p.parent for pattern in ("input.wav", "*/input.wav", "*/*/input.wav", "*/*/*/input.wav")
             for p in folder.glob(pattern)}  # fmt: skip
    if not found:
        raise InputError(f"{folder} holds no {{set}}/{{id}}/input.wav")
    made: dict[str, Place] = {}
    for place in sorted(found, key=lambda p: (str(p.parent), not p.name.isdigit(), p.name.zfill(12))):
        task, own = place.resolve().parent.name, place.resolve().name
        if (name := f"{task}/{own}") in made:
            raise InputError(f"{folder} holds two samples {name}: {made[name].folder} and {place}")
        made[name] = Place(place)
        if (twin := Place(place, "clean_")).file("input.wav").is_file() and (place / "metadata.json").is_file():
            made[f"{task}{CLEAN}/{own}"] = twin
    return made


def fdb_tasks(folder: Path, limit: int | None = None, detector: ActivityDetector | None = None) -> tuple[Task, ...]:
    """One task per set; `limit`: the first so many samples of each. `detector` says where the user's turn lies in
    pause sets whose words are not given and before v1.5's overlaps; without it such a sample has no turn."""
    by_set: dict[str, list[Sample]] = {}
    for name, place in fdb_samples(folder).items():
        samples = by_set.setdefault(name.partition("/")[0], [])
        if limit is None or len(samples) < limit:
            samples.append(_sample(name, place, folder, detector))
    return tuple(Task(name, "1", METRICS, tuple(samples)) for name, samples in by_set.items())


def _sample(name: str, place: Place, root: Path, detector: ActivityDetector | None) -> Sample:
    clean = bool(place.prefix)
    cluster = name.replace(f"{CLEAN}/", "/") if clean else name
    task = cluster.partition("/")[0]
    audio = read_channel(place.file("input.wav"))
    length = len(audio) / SAMPLE_RATE
    given = _given(place.folder, task, math.inf if clean else length)  # a twin may end before the overlap it lacks
    turn = None if detector is None else _undated_turn(given.events, audio, detector)
    events = ((turn,) if turn else ()) + (() if clean else given.events)
    cue = Cue(path=str(place.file("input.wav").relative_to(root)), at=0.0)
    tags = (f"fdb:{task}", *(("fdb:clean",) if clean else ()))
    return Sample(name, name.partition("/")[0], (cue,), length, events, given.text, cluster=cluster, tags=tags)


def _given(place: Path, task: str, length: float) -> Given:
    """The events of one folder, by the files it holds."""
    if (path := place / "metadata.json").is_file():
        if task not in V15:
            raise InputError(f"{path}: the set {task!r} is not one of {', '.join(V15)}, so its times have no meaning")
        data = _read(path, Metadata)
        text = " ".join(t for t in (data.context_text, data.current_turn_text) if t)
        return Given((_event(V15[task], data.timestamps, path, length, data.current_turn_text),), text)
    words = _words(place / "transcription.json", length)
    text = " ".join(word for word, _ in words)
    events: list[Event] = []
    if (path := place / "interrupt.json").is_file():
        marks = _read(path, list[Marked])
        events += [_event("interruption", m.timestamp, path, length, m.interrupt) for m in marks]
        before = [span for _, span in words if events and span.end <= events[0].start]
        events += _turn(before, path)
    elif (path := place / "turn_taking.json").is_file():
        marks = _read(path, list[Marked])
        if len(marks) != 1:
            raise InputError(f"{path} dates {len(marks)} turn ends; one is needed")
        end = marks[0].timestamp[0]  # the gap's start is the turn's end
        before = [span for _, span in words if span.start < end]
        start = min(before[0].start, end) if before else 0.0
        events.append(_event("turn", (start, end), path, length))
    elif (path := place / "pause.json").is_file():
        events += [_event("pause", m.timestamp, path, length, m.text) for m in _read(path, list[Marked])]
        events += _turn([span for _, span in words], path)
    else:
        events += _turn([span for _, span in words], place / "transcription.json")
    return Given(tuple(sorted(events, key=lambda e: (e.start, e.kind))), text)


def _turn(spans: list[Span], path: Path) -> list[Event]:
    """One turn over all the words; none without words."""
    if not spans:
        return []
    return [Event("turn", min(s.start for s in spans), max(s.end for s in spans), f"given:{path.name}")]


def _undated_turn(events: tuple[Event, ...], audio: Audio, detector: ActivityDetector) -> Event | None:
    """The user's turn where the files date none: all detected speech around pauses, what is over before an overlap."""
    if not events or any(event.kind == "turn" for event in events):
        return None
    spans = detector.spans(audio, SAMPLE_RATE)
    if events[0].kind != "pause":
        spans = tuple(s for s in spans if s.end <= events[0].start)
    elif spans and (spans[0].start > events[0].start or spans[-1].end < events[-1].end):
        return None
    return Event("turn", spans[0].start, spans[-1].end, detector.source) if spans else None


def _event(kind: EventKind, times: tuple[float, float], path: Path, length: float, label: str = "") -> Event:
    start, end = times
    if not 0 <= start <= end <= length + ROUNDING:
        raise InputError(f"{path}: {kind} from {start:g} to {end:g} s does not lie in the {length:.2f} s of input.wav")
    return Event(kind, start, min(end, max(length, start)), f"given:{path.name}", label)


def _words(path: Path, length: float) -> list[tuple[str, Span]]:
    """The user's words; one without a start is passed over, one without an end lasts until the next or the end."""
    if not path.is_file():
        return []
    items = [i for spoken in _read(path, list[Spoken]) for i in spoken.item]
    timed = [(i.text, *i.timestamp) for i in items]
    dated = sorted((start, end, text) for text, start, end in timed if start is not None and end is not None)
    starts = sorted(start for _, start, _ in timed if start is not None)
    for text, start, end in timed:
        if start is not None and end is None:
            dated.append((start, next((s for s in starts if s > start), length), text))
    return [(text, Span(start, max(start, end))) for start, end, text in sorted(dated)]


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.convert(json.loads(path.read_text(encoding="utf-8")), kind)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise InputError(f"{path} is not as Full-Duplex-Bench writes it: {error}") from error

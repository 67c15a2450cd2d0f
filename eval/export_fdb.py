"""A run in Full-Duplex-Bench's layout, `{set}/{id}/input.wav, output.wav, output.json`: its own scripts can score it.

Written from a description of the layout. Both sounds are the recording's channels, so every time is on its clock. A
sample that came from such a folder keeps its set and id; others are numbered in a set named by their task. The
original scripts crash on a sample without output or reuse the one before, so a talk that failed is not written but
listed with its reason in `export.json`. In v1's interruption sets `output.json` holds what was said after the
interruption, because that is how those files are made: from sound that begins there, inside a word or not. A clean twin
(`eval.tasks.import_fdb`) goes back beside the talk it is the twin of, and is left out where that talk is.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval.metrics.compat.fdb import after
from eval.tasks.import_fdb import CLEAN, Place
from protocols.duplex import Audio
from protocols.encoding import encoded, to_pcm16
from protocols.errors import InputError, StoreError
from protocols.records import Conversation, Event, Listening, Sample, Word
from protocols.store import Run

OVERLAPS = ("interruption", "backchannel", "side_talk", "background")
V15 = {
    "interruption": "user_interruption",
    "backchannel": "user_backchannel",
    "side_talk": "talking_to_other",
    "background": "background_speech",
}


class Exported(NamedTuple):
    """What was written: "set/id" by sample id, and why the others were not."""

    written: dict[str, str]
    left_out: dict[str, str]


def export_fdb(run: Run, out: Path, take: int = 0) -> Exported:
    """Write one take of every sample. `out` must not exist or be empty; on an error nothing stays behind."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty; give another --out")
    samples = {s.id: s for s in run.read(Sample)}
    heard = {row.key: row for row in run.read(Listening)}
    talks = {t.key: t for t in run.read(Conversation) if t.take == take}
    if not talks:
        raise InputError(f"{run.path} holds no talk of take {take}")
    staging = out.with_name(out.name + ".part")
    written: dict[str, str] = {}
    left_out: dict[str, str] = {}
    try:
        placed = [(_place(samples[talk.sample], talk, number), talk) for number, talk in enumerate(talks.values())]
        for place, talk in sorted(placed, key=lambda pair: bool(pair[0].prefix)):
            words = _words(talk, heard.get(talk.key))
            folder = staging / place.folder
            if talk.recording is None:
                left_out[talk.sample] = talk.reason or "no recording"
            elif words is None:
                left_out[talk.sample] = "nobody wrote down what the agent said"
            elif place.prefix and not folder.is_dir():
                left_out[talk.sample] = f"{place.folder}, whose clean twin it is, is not there"
            else:
                _write(place._replace(folder=folder), run.read_audio(talk.recording), talk, words)
                written[talk.sample] = str(place.folder)
        if not written:
            why = next(iter(left_out.values()))
            raise InputError(f"{run.path} holds nothing that can be exported: {why}")
        manifest = {"run": run.info.system, "take": take, "written": written, "left_out": left_out}
        _json(staging / "export.json", manifest)
        if out.exists():
            out.rmdir()
        staging.rename(out)
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Exported(written, left_out)


def _place(sample: Sample, talk: Conversation, number: int) -> Place:
    if "fdb:clean" in sample.tags:
        return Place(Path(sample.id.replace(f"{CLEAN}/", "/")), "clean_")
    if any(tag.startswith("fdb:") for tag in sample.tags):
        return Place(Path(sample.id))
    kinds = [e.kind for e in talk.events if e.kind in OVERLAPS and e.missed is None]
    name = V15[kinds[0]] if kinds else "".join(c if c.isalnum() or c in "-_" else "_" for c in sample.task)
    return Place(Path(f"{name}/{number}"))


def _words(talk: Conversation, heard: Listening | None) -> tuple[Word, ...] | None:
    """What a transcriber heard, else the system's own text; None where neither is there."""
    transcripts = [*(heard.transcripts if heard else ()), *talk.transcripts]
    return next((t.words for t in transcripts if t.channel == "agent"), None)


def _write(place: Place, audio: Audio, talk: Conversation, words: Sequence[Word]) -> None:
    folder = place.folder
    folder.mkdir(parents=True, exist_ok=bool(place.prefix))
    assert talk.recording is not None
    for name, channel in (("output.wav", audio[0]), ("input.wav", audio[1])):
        place.file(name).write_bytes(encoded(to_pcm16(np.asarray(channel)), talk.recording.sample_rate, "WAV"))
    words = words if place.prefix else _dated(folder, talk, talk.recording.duration, words)
    chunks = [_mark(w.text, w.start, w.end) for w in words]
    _json(place.file("output.json"), {"text": " ".join(w.text for w in words), "chunks": chunks})


def _dated(folder: Path, talk: Conversation, duration: float, words: Sequence[Word]) -> Sequence[Word]:
    """Write the file that dates the talk's events; the words that its set's `output.json` holds."""
    events = [e for e in talk.events if e.missed is None]
    overlaps = [e for e in events if e.kind in OVERLAPS]
    pauses = [e for e in events if e.kind == "pause"]
    turns = [e for e in events if e.kind == "turn"]
    if overlaps and folder.parent.name in V15.values():
        first = overlaps[0]
        text = {"context_text": "", "current_turn_text": first.label, "timestamps": [first.start, first.end]}
        _json(folder / "metadata.json", text)
    elif overlaps:
        _json(folder / "interrupt.json", [
            {"context": "", "interrupt": e.label, "timestamp": [e.start, e.end]} for e in overlaps
        ])  # fmt: skip
        words = after(words, overlaps[-1].end)
    elif pauses:
        _json(folder / "pause.json", [_mark("[PAUSE]", e.start, e.end) for e in pauses])
    elif turns:
        _json(folder / "turn_taking.json", [_turn_end(turns, duration)])
    return words


def _turn_end(turns: Sequence[Event], duration: float) -> dict[str, object]:
    """The last turn's end, and the silence after it."""
    return _mark("[TURN-TAKING]", turns[-1].end, max(duration, turns[-1].end))


def _mark(text: str, start: float, end: float) -> dict[str, object]:
    return {"text": text, "timestamp": [start, end]}


def _json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

"""What tests are built from: talks written as a line, tones, and files of the spoken set."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import soundfile

from eval.metrics.base import Heard
from protocols.duplex import SAMPLE_RATE
from protocols.records import Activity, Conversation, Event, Listening, Recording, Sample, Transcript, Word
from protocols.timeline import Span, track

ROOT = Path(__file__).resolve().parent.parent
SPOKEN = ROOT / "protocols" / "library" / "spoken"
DATA = Path(os.environ.get("DUOLOGUE_DATA", ROOT.parent / "shared" / "data"))


def talk(script: str, duration: float = 10.0, **sample: object) -> Heard:
    """A talk from a line such as "agent: hi[0.5-0.9] there[1-1.4] | user: [2-3] | turn: [2-3] | pause: [2.4-2.6]".

    Words under agent become its transcripts (model and ASR alike); other names are events.
    """
    spans: dict[str, list[tuple[float, float]]] = {"agent": [], "user": []}
    words: list[Word] = []
    events: list[Event] = []
    for part in script.split("|"):
        name, _, rest = part.strip().partition(":")
        for text, start, end in re.findall(r"(\S*?)\[(-?[\d.]+)-([\d.]+)\]", rest):
            if name in spans:
                spans[name].append((float(start), float(end)))
                if text:
                    words.append(Word(text, float(start), float(end)))
            else:
                events.append(Event(name, float(start), float(end), "made"))  # type: ignore[arg-type]
    ordered = tuple(sorted(events, key=lambda e: e.start))
    key = {"id": "s", "task": "t", "cues": (), "length": duration, "events": ordered, **sample}
    recording = Recording("audio/s.0.flac", SAMPLE_RATE, round(duration * SAMPLE_RATE), "0" * 64)
    said = (Transcript("agent", "model", tuple(words)),)
    heard = (Transcript("agent", "test-asr", tuple(words)),)
    return Heard(
        Sample(**key),  # type: ignore[arg-type]
        Conversation("s", 0, "test", 0, recording, events=ordered, transcripts=said),
        Listening("s", 0, tuple(Activity(c, "test-vad", track(spans[c])) for c in ("agent", "user")), heard),  # type: ignore[arg-type]
        duration,
    )


def tone(seconds: float, level: float = 0.2, rate: int = SAMPLE_RATE) -> np.ndarray:
    """A 220 Hz tone, [n]."""
    return (level * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def spoken(name: str) -> tuple[np.ndarray, Span]:
    """A file of the shipped spoken set, [n] at 24 kHz, and where its speech lies."""
    with (SPOKEN / "questions.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            for column, start, end in (
                ("Wav Filename", "Speech start", "Speech end"),
                ("Reply Filename", "Reply start", "Reply end"),
            ):
                if row[column] == name:
                    audio, rate = soundfile.read(SPOKEN / name, dtype="float32")
                    assert rate == SAMPLE_RATE
                    return audio, Span(float(row[start]), float(row[end]))
    raise AssertionError(f"no {name} in the spoken set")

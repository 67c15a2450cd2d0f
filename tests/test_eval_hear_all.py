"""Talks heard by several processes: the same rows as by one, and a process that dies costs nothing but its own work."""

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from builders import spoken
from eval.activity import SileroActivity
from eval.hear_all import AHEAD, Instruments, listen, open_instruments
from protocols.duplex import Audio
from protocols.errors import StoreError, WorkerDied
from protocols.records import Conversation, Listening, Sample
from protocols.runs import Protocol, RunInfo
from protocols.store import Run
from protocols.timeline import Track

N = 18
MAKE = partial(open_instruments, "none")
DEADLY = N - 1  # the talk whose sound kills who hears it, in one of the tests


class Fragile(SileroActivity):
    """Its process dies when it hears a certain talk."""

    def spans(self, audio: Audio, sample_rate: int) -> Track:
        if round(100 * float(audio[-1])) == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().spans(audio, sample_rate)


def fragile() -> Instruments:
    return Instruments(Fragile(), None)


def held(folder: Path, n: int = N) -> Run:
    """n talks of different sound, each with its number in its last sample; one failed and has none."""
    question, _ = spoken("q02.flac")
    reply, _ = spoken("q02.reply.flac")
    run = Run.create(
        folder, RunInfo("x", "1", Protocol("s", "", 1, 0, 0.0, 0.0, "none", "simulated"), "running", "", N)
    )
    with run.writing() as writing:
        for i in range(n):
            audio = np.zeros((2, 120_000), np.float32)
            audio[1, : min(len(question), 120_000)] = question[:120_000]
            audio[0, 1_000 * i : 1_000 * i + len(reply)] = reply
            audio[0, -1] = i / 100
            talk = Conversation(f"s{i}", 0, "x", 0, None, "it failed")
            if i != 3:
                recording = writing.write_audio(talk.key, audio)
                talk = Conversation(talk.sample, 0, "x", 0, recording)
            writing.append(Sample(talk.sample, "t", (), 5.0))
            writing.append(talk)
    return run


def rows(run: Run) -> bytes:
    return (run.path / "listening.jsonl").read_bytes()


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = held(tmp_path_factory.mktemp("one") / "run")
    assert listen(run, MAKE()) == N - 1
    return run


def test_two_processes_write_the_rows_of_one(by_one: Run, tmp_path: Path) -> None:
    run = held(tmp_path / "run")
    steps: list[int] = []
    assert listen(run, MAKE(), progress=steps.append, jobs=2, make=MAKE) == N - 1
    assert rows(run) == rows(by_one)
    assert steps == list(range(N))
    assert listen(run, MAKE(), jobs=2, make=MAKE) == 0
    assert multiprocessing.active_children() == []


def test_a_killed_process_is_one_error_and_the_rest_is_done_later(by_one: Run, tmp_path: Path) -> None:
    run = held(tmp_path / "run")
    with pytest.raises(WorkerDied, match=r"the same command goes on from there, with fewer processes by --jobs"):
        listen(run, MAKE(), jobs=2, make=fragile)
    assert multiprocessing.active_children() == []
    kept = rows(run)
    assert N - 1 - 2 * AHEAD <= len(list(run.read(Listening))) < N - 1  # it is handed out when these are back
    assert rows(by_one).startswith(kept)
    listen(run, MAKE())
    assert rows(run) == rows(by_one)


def test_an_error_in_a_process_is_the_error_of_the_stage(tmp_path: Path) -> None:
    run = held(tmp_path / "run")
    (run.path / "audio" / "s9.0.flac").write_bytes(b"fLaC")
    with pytest.raises(StoreError, match=r"cannot read the recording .*s9\.0\.flac"):
        listen(run, MAKE(), jobs=2, make=MAKE)
    assert [row.sample for row in run.read(Listening)] == [f"s{i}" for i in range(9) if i != 3]


def test_few_talks_start_no_process(tmp_path: Path) -> None:
    def never() -> Instruments:
        raise AssertionError("a process was started")

    assert listen(held(tmp_path / "run", 8), MAKE(), jobs=8, make=never) == 7

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.encoding import to_pcm16
from protocols.errors import StoreError
from protocols.records import Conversation, Key, Score
from protocols.runs import Protocol, RunInfo
from protocols.store import Run, file_name

INFO = RunInfo("test", "1", Protocol("s", "0", 1, 0, 1.0, 4.0, "none", "simulated"), "running", "2026-01-01", 3)


def score(n: int) -> Score:
    return Score(f"s{n}", 0, "m", "m/1", float(n), "x")


def filled(path: Path, n: int = 3) -> Run:
    run = Run.create(path, INFO)
    with run.writing() as writing:
        writing.append(*(score(i) for i in range(n)))
    return run


def test_rows_are_read_in_the_order_written(tmp_path: Path) -> None:
    run = filled(tmp_path / "r")
    assert list(run.read(Score)) == [score(0), score(1), score(2)]


@given(cut=st.integers(1, 400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_a_cut_last_line_is_passed_over_and_then_repaired(tmp_path: Path, cut: int) -> None:
    run = filled(tmp_path / f"r{os.urandom(6).hex()}")
    file = run.path / "scores.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: max(len(whole) - cut, 0)])
    kept = list(run.read(Score))
    assert kept == [score(i) for i in range(len(kept))]
    with run.writing() as writing:
        writing.append(score(9))
    assert list(run.read(Score)) == [*kept, score(9)]


def test_a_bad_line_in_the_middle_is_an_error_that_says_where(tmp_path: Path) -> None:
    run = filled(tmp_path / "r")
    file = run.path / "scores.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b"{}\n" + lines[2])
    with pytest.raises(StoreError, match=r"scores\.jsonl, line 2"):
        list(run.read(Score))


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_any_bytes_in_a_run_are_rows_or_one_clear_error(tmp_path: Path, data: bytes) -> None:
    run = filled(tmp_path / f"r{os.urandom(6).hex()}", n=1)
    for name in ("scores.jsonl", "run.json"):
        (run.path / name).write_bytes(data)
    for use in (lambda: list(run.read(Score)), lambda: Run(run.path)):
        with contextlib.suppress(StoreError):
            use()


def test_verify_finds_a_changed_byte_in_a_row_and_in_a_recording(tmp_path: Path) -> None:
    run = filled(tmp_path / "r")
    with run.writing() as writing:
        recording = writing.write_audio(Key("s0", 0), np.zeros((2, 24_000), np.float32))
        writing.append(Conversation("s0", 0, "test", 0, recording))
        writing.seal()
    assert Run(run.path).verify() == []
    for name in ("scores.jsonl", recording.path):
        file = run.path / name
        good = file.read_bytes()
        for at in (0, len(good) // 2, len(good) - 1):
            file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            assert any(name in line for line in Run(run.path).verify()), f"byte {at} of {name}"
        file.write_bytes(good)
    assert Run(run.path).verify() == []
    (run.path / recording.path).unlink()
    assert "missing" in Run(run.path).verify()[0]


def test_rows_after_the_seal_do_not_break_it(tmp_path: Path) -> None:
    run = filled(tmp_path / "r")
    with run.writing() as writing:
        writing.seal()
        writing.append(score(7))
    assert Run(run.path).verify() == []


def test_sound_comes_back_as_it_was_to_16_bits(tmp_path: Path) -> None:
    audio = np.random.default_rng(0).uniform(-1.2, 1.2, (2, 4_801)).astype(np.float32)
    run = filled(tmp_path / "r")
    with run.writing() as writing:
        recording = writing.write_audio(Key("a/b c", 1), audio)
    back = run.read_audio(recording)
    assert back.shape == (2, 4_801)
    np.testing.assert_array_equal(to_pcm16(back * (32768 / 32767)), to_pcm16(audio))


def test_tokens_come_back_as_they_were_or_say_which_file_is_broken(tmp_path: Path) -> None:
    run = filled(tmp_path / "r")
    grid = np.arange(-1, 20, dtype=np.int16).reshape(3, 7)
    with run.writing() as writing:
        stored = writing.write_tokens(Key("a", 0), grid)
    np.testing.assert_array_equal(run.read_tokens(stored), grid)
    (run.path / stored.path).write_bytes(b"half")
    with pytest.raises(StoreError, match=r"cannot read the tokens .*\.tokens\.npy"):
        run.read_tokens(stored)


def test_an_existing_run_is_never_overwritten(tmp_path: Path) -> None:
    filled(tmp_path / "r")
    with pytest.raises(StoreError, match="already holds a run"):
        Run.create(tmp_path / "r", INFO)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    run = filled(tmp_path / "r")
    code = (
        f"from pathlib import Path\nfrom protocols.store import Run\nwith Run(Path({str(run.path)!r})).writing(): pass"
    )
    with run.writing():
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process" in other.stderr


def test_a_full_disk_loses_the_row_and_nothing_else(tmp_path: Path) -> None:
    run = filled(tmp_path / "r")
    size = (run.path / "scores.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, before[1]))
    try:
        with run.writing() as writing, pytest.raises(StoreError, match="written before is safe"):
            writing.append(score(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(run.read(Score)) == [score(0), score(1), score(2)]
    with run.writing() as writing:
        writing.append(score(3))
    assert len(list(run.read(Score))) == 4


def test_a_recording_that_does_not_fit_leaves_no_half_file(tmp_path: Path) -> None:
    run = filled(tmp_path / "r")
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 48_000)).astype(np.float32)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with run.writing() as writing, pytest.raises(StoreError, match="safe"):
            writing.write_audio(Key("s", 0), noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((run.path / "audio").iterdir()) == []


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run folder"):
        Run(tmp_path)


def test_a_run_of_another_schema_says_so(tmp_path: Path) -> None:
    run = filled(tmp_path / "r")
    file = run.path / "run.json"
    file.write_text(file.read_text().replace("run/1", "run/7"))
    with pytest.raises(StoreError, match=r"run/7.*another version"):
        Run(run.path)


@given(st.text(max_size=100), st.text(max_size=100), st.integers(0, 9))
def test_file_names_are_safe_and_differ_for_different_samples(a: str, b: str, take: int) -> None:
    name = file_name(Key(a, take))
    assert "/" not in name
    assert not name.startswith("..")
    assert len(name) < 120
    assert (name == file_name(Key(b, take))) == (a == b)

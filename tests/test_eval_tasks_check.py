"""Any list of events and cues is one clear error or a sample whose parts agree, thousands of spans included."""

import math
import time
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.activity import SileroActivity
from eval.hear_all import Instruments, listen
from eval.metrics import METRICS
from eval.runner import DriveOptions, drive
from eval.score import scores_by
from eval.tasks.check import SLACK, check
from model.systems.simple import EchoSystem
from protocols.errors import InputError
from protocols.records import Conversation, Cue, Event, EventKind, Sample
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

seconds = st.floats(-1, 9) | st.sampled_from([0.0, 1.0, 2.0, 8.0])
kinds = st.sampled_from(get_args(EventKind))
events = st.builds(
    lambda kind, a, b, cue, missed: Event(kind, min(a, b), max(a, b), "made", cue=cue, missed=missed),
    kinds, seconds, seconds, st.none() | st.integers(-1, 2), st.none() | st.just("never played"),
)  # fmt: skip
cues = st.builds(Cue, st.just("a.wav"), seconds, seconds, st.none() | seconds, after_agent=st.none() | seconds)


@given(st.lists(events, max_size=6), st.lists(cues, max_size=2), st.booleans(), st.sampled_from([0.0, -1.0, 8.0]))
def test_a_sample_is_refused_by_name_or_its_events_agree(
    made: list[Event], placed: list[Cue], in_order: bool, length: float
) -> None:
    ordered = sorted(made, key=lambda e: e.start) if in_order else made
    sample = Sample("s", "t", tuple(placed), length, tuple(ordered))
    fault = None
    try:
        check(sample)
    except InputError as error:
        fault = str(error)
    if fault is not None:
        assert fault.startswith("sample s ")
        return
    assert length > 0
    assert all(a.start <= b.start for a, b in pairwise(sample.events))
    assert all(0 <= e.start <= e.end <= length + SLACK and e.missed is None for e in sample.events)
    assert all(e.cue is None or e.cue < len(placed) for e in sample.events)
    for kind in ("turn", "pause"):
        assert all(a.end <= b.start + SLACK for a, b in pairwise([e for e in sample.events if e.kind == kind]))


def test_thousands_of_events_are_checked_at_once_and_one_bad_one_is_found() -> None:
    n = 5_000
    turns = [Event("turn", 2.0 * i, 2.0 * i + 1, "made") for i in range(n)]
    pauses = [Event("pause", 2.0 * i + 0.2, 2.0 * i + 0.4, "made") for i in range(n)]
    stray = Event("pause", 2.0 * n - 0.9, 2.0 * n - 0.1, "made")
    good = tuple(sorted(turns + pauses, key=lambda e: e.start))
    started = time.process_time()
    check(Sample("s", "t", (), 2.0 * n, good))
    with pytest.raises(InputError, match=r"a pause at 9999\.1 s that lies in no turn"):
        check(Sample("s", "t", (), 2.0 * n, (*good, stray)))
    assert time.process_time() - started < 1.0


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    sound = 0.1 * np.random.default_rng(0).standard_normal(24_000)
    soundfile.write(folder / "a.wav", sound, 24_000)
    return folder


inside = st.floats(0, 8) | st.sampled_from([0.0, 1.0, 2.0, 8.0])
playable_events = st.builds(lambda kind, a, b: Event(kind, min(a, b), max(a, b), "made"), kinds, inside, inside)
playable_cues = st.builds(
    lambda at, start, rest, after: Cue("a.wav", at, start, None if rest is None else start + rest, after_agent=after),
    inside, st.floats(0, 1), st.none() | st.floats(0.001, 0.5), st.none() | st.floats(0, 3),
)  # fmt: skip
TIMING = [m for name, m in METRICS.items() if name.startswith("timing.") and not m.needs_words]


@settings(max_examples=10)
@given(st.lists(playable_events, max_size=3), st.lists(playable_cues, max_size=2), st.integers(0, 2**31))
def test_what_is_accepted_can_be_held_heard_and_scored(
    noise: Path, tmp_path_factory: pytest.TempPathFactory, made: list[Event], placed: list[Cue], seed: int
) -> None:
    """Through the real runner: a talk with a sound and an outcome per figure, or one that failed with its reason."""
    sample = Sample("s", "t", tuple(placed), 8.0, tuple(sorted(made, key=lambda e: e.start)))
    try:
        check(sample)
    except InputError:
        return
    protocol = Protocol("t", "", 1, seed, 0.96, 1.0, "none", "simulated")
    run = Run.create(tmp_path_factory.mktemp("run") / "run", RunInfo("echo", "1", protocol, "running", "", 1))
    with run.writing() as writing:
        writing.append(sample)
    drive(EchoSystem(), [sample], noise, run, DriveOptions(seed=seed, tail=1.0))
    listen(run, Instruments(SileroActivity(), None))
    (held,) = run.read(Conversation)
    assert (held.recording is None) == (held.reason is not None)
    scores = list(scores_by(run, TIMING))
    assert {s.metric for s in scores} == {m.info.name for m in TIMING if m.applies(sample)}
    assert all(s.outcome and (s.value is None) == (s.reason is not None) for s in scores)
    assert all(s.value is None or math.isfinite(s.value) for s in scores)

"""What we export, scored by Full-Duplex-Bench's own scripts, equals our `compat.fdb` figures.

    DUOLOGUE_FDB=path/to/Full-Duplex-Bench pytest tests/test_eval_export_fdb_peer.py

The scripts run as they are, in a process of their own (`fdb_scripts.py`); the checkout is the user's, because its
licence (CC BY-NC) keeps its code out of this repository. Each talk has a folder of its own, so that every figure is
seen and not only a mean.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from eval.export_fdb import export_fdb
from eval.metrics import metric
from eval.metrics.base import Metric
from eval.metrics.compat import fdb15
from eval.metrics.compat.metrics_fdb import jsd_metric
from eval.score import scores_by
from protocols.duplex import SAMPLE_RATE
from protocols.records import CHANNELS, Activity, Conversation, Event, Listening, Sample, Score, Transcript, Word
from protocols.runs import Protocol, RunInfo
from protocols.store import Run
from protocols.timeline import Span, track

N = 32
LENGTH = 8.0  # seconds; counts per second are then exact in the four digits that the scripts print


class Scene(NamedTuple):
    events: tuple[Event, ...]
    words: tuple[Word, ...]
    agent: tuple[Span, ...]
    user: tuple[Span, ...]


@pytest.fixture
def evaluation() -> Path:
    root = os.environ.get("DUOLOGUE_FDB")
    if root is None:
        pytest.skip("set DUOLOGUE_FDB to a checkout of Full-Duplex-Bench")
    found = [p.parent for p in Path(root).resolve().rglob("get_timing.py")]
    assert found, f"DUOLOGUE_FDB is set, but {root} holds no get_timing.py"
    return found[0]


def random_spans(rng: np.random.Generator, n: int, longest: float) -> tuple[Span, ...]:
    starts = rng.uniform(0, LENGTH - longest, n)
    return track((float(s), float(s + rng.uniform(0.05, longest))) for s in starts)


def random_scene(seed: int, *events: Event, words: int = 6, longest: float = 0.6) -> Scene:
    """Words anywhere in the talk, often few and short, so that both verdicts come up."""
    rng = np.random.default_rng(seed)
    agent = random_spans(rng, int(rng.integers(0, words)), longest)
    said = tuple(Word(f"w{i}", s.start, s.end) for i, s in enumerate(agent))
    return Scene(events, said, agent, random_spans(rng, 4, 1.5))


def on_grid(scene: Scene, step: float) -> Scene:
    """The scene with its spans on multiples of `step` seconds."""

    def moved(spans: tuple[Span, ...]) -> tuple[Span, ...]:
        return track((round(round(s.start / step) * step, 3), round(round(s.end / step) * step, 3)) for s in spans)

    return scene._replace(agent=moved(scene.agent), user=moved(scene.user))


def made_run(folder: Path, task: str, scenes: list[Scene]) -> Run:
    protocol = Protocol("peer", "", 1, 0, 0.0, 0.0, "none", "simulated")
    run = Run.create(folder, RunInfo("made", "1", protocol, "running", "", len(scenes)))
    with run.writing() as writing:
        for i, scene in enumerate(scenes):
            key = f"{task}/{i}"
            talk = Conversation(key, 0, "made", 0, None, "none yet")
            recording = writing.write_audio(talk.key, np.zeros((2, round(LENGTH * SAMPLE_RATE)), np.float32))
            activity = tuple(Activity(c, "exact", s) for c, s in zip(CHANNELS, (scene.agent, scene.user), strict=True))
            writing.append(Sample(key, task, (), LENGTH, scene.events, tags=(f"fdb:{task}",)))
            writing.append(Conversation(key, 0, "made", 0, recording, events=scene.events))
            writing.append(Listening(key, 0, activity, (Transcript("agent", "exact", scene.words),)))
    return run


def outputs(evaluation: Path, script: str, run: Run, options: tuple[str, ...] = ()) -> tuple[list[str], list[Path]]:
    """What the script prints on each talk, exported alone; and the talks' folders, in the samples' order."""
    place = run.path.parent / "exported"
    written = export_fdb(run, place).written
    roots, folders, spans = [], [], {}
    for i, row in enumerate(run.read(Listening)):
        theirs = place / written[row.sample]
        root = run.path.parent / "alone" / str(i)
        root.mkdir(parents=True)
        alone = theirs.rename(root / theirs.name)
        for activity, name in zip(row.activity, ("output.wav", "input.wav"), strict=True):
            spans[str((alone / name).resolve())] = activity.spans
        roots.append(str(root))
        folders.append(alone)
    known = run.path.parent / "spans.json"
    known.write_text(json.dumps(spans))
    runner = Path(__file__).with_name("fdb_scripts.py")
    command = [sys.executable, str(runner), str(known), script, *roots, "--", *options]
    done = subprocess.run(command, cwd=evaluation, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return re.split(r"^=== .*\n", done.stdout, flags=re.MULTILINE)[1:], folders


def printed(text: str, name: str) -> float | None:
    found = re.findall(rf"{re.escape(name)}\s*(-?[\d.]+(?:e-?\d+)?)", text)
    return float(found[-1]) if found else None


def ours(run: Run, name: str | Metric) -> list[Score]:
    return list(scores_by(run, [metric(name) if isinstance(name, str) else name]))


def test_pause_takeovers_are_theirs(evaluation: Path, tmp_path: Path) -> None:
    pause = Event("pause", 2.0, 3.0, "made")
    run = made_run(tmp_path / "run", "pause_handling", [random_scene(i, pause) for i in range(N)])
    theirs, _ = outputs(evaluation, "evaluate.py", run, ("--task", "pause_handling"))
    values = [printed(text, "Average take turn:") for text in theirs]
    assert values == [s.value for s in ours(run, "compat.fdb.pause_tor")]
    assert {0.0, 1.0} == set(values)


def test_turn_takeovers_and_latencies_are_theirs(evaluation: Path, tmp_path: Path) -> None:
    """Quirk of theirs: without any takeover their mean latency is a division by zero; ours has no value there."""
    turn = Event("turn", 0.5, 3.0, "made")
    run = made_run(tmp_path / "run", "turn_taking", [random_scene(i, turn) for i in range(N)])
    theirs, _ = outputs(evaluation, "evaluate.py", run, ("--task", "smooth_turn_taking"))
    takeovers, latencies = ours(run, "compat.fdb.turn_tor"), ours(run, "compat.fdb.turn_latency")
    assert [printed(text, "the TOR is") for text in theirs] == [s.value for s in takeovers]
    for text, latency in zip(theirs, latencies, strict=True):
        if latency.value is None:
            assert "!!! ZeroDivisionError" in text
        else:
            assert printed(text, "Average latency:") == pytest.approx(latency.value, abs=1e-9)
    assert {s.value is None for s in latencies} == {True, False}


def test_interruption_takeovers_and_latencies_are_theirs(evaluation: Path, tmp_path: Path) -> None:
    """Quirk of theirs: a talk without a takeover crashes the mean (division by zero); ours has no value there."""
    cut = Event("interruption", 2.0, 3.2, "made", "stop")
    run = made_run(tmp_path / "run", "synthetic_user_interruption", [random_scene(i, cut, words=9) for i in range(N)])
    theirs, _ = outputs(evaluation, "evaluate.py", run, ("--task", "user_interruption"))
    takeovers, latencies = ours(run, "compat.fdb.interruption_tor"), ours(run, "compat.fdb.interruption_latency")
    for text, took, latency in zip(theirs, takeovers, latencies, strict=True):
        if latency.value is None:
            assert "!!! ZeroDivisionError" in text
            assert took.value == 0
        else:
            assert printed(text, "Average take turn:") == took.value == 1
            assert printed(text, "Average latency:") == pytest.approx(latency.value, abs=1e-9)
    assert {s.value for s in takeovers} == {0.0, 1.0}


def test_backchannel_figures_are_theirs(evaluation: Path, tmp_path: Path) -> None:
    """Also where segments end on the edges of bins, as the times of a detector that rounds to 0.1 s do.

    Quirk of theirs that no figure of ours has: their detector's times are rounded so; here both get the same times.
    """
    scenes = [on_grid(random_scene(i, words=5, longest=3.5 if i % 3 else 0.9), 0.1 if i % 2 else 1e-3)
              for i in range(N)]  # fmt: skip
    run = made_run(tmp_path / "run", "icc_backchannel", scenes)
    people: Mapping[str, list[float]] = json.loads((evaluation / "icc_gt_distribution.json").read_text())
    theirs, folders = outputs(evaluation, "evaluate.py", run, ("--task", "backchannel"))
    reference = {f"icc_backchannel/{i}": people[folder.name] for i, folder in enumerate(folders)}
    takeovers, counts = ours(run, "compat.fdb.backchannel_tor"), ours(run, "compat.fdb.backchannel_freq")
    distances = ours(run, jsd_metric(reference))
    assert [printed(text, "TOR - Mean:") for text in theirs] == [s.value for s in takeovers]
    assert [printed(text, "Frequency - Mean:") for text in theirs] == pytest.approx([s.value for s in counts], abs=1e-9)
    assert [printed(text, "JSD:") for text in theirs] == pytest.approx([s.value for s in distances], abs=1e-9)
    assert {0.0, 1.0} == {s.value for s in takeovers}


def test_v15_intervals_are_theirs(evaluation: Path, tmp_path: Path) -> None:
    """Quirk of theirs: times are written in whole milliseconds, so spans here lie on milliseconds."""
    scenes = [on_grid(random_scene(i, longest=2.0), 1e-3) for i in range(N)]
    run = made_run(tmp_path / "run", "turn_taking", scenes)
    _, folders = outputs(evaluation, "get_timing.py", run)
    for folder, row in zip(folders, run.read(Listening), strict=True):
        theirs = json.loads((folder / "latency_intervals.json").read_text())
        found = fdb15.intervals(*(a.spans for a in row.activity))
        for name, made in (("latency_stop_list", found.stops), ("latency_resp_list", found.responses)):
            assert np.asarray(theirs[name], float).reshape(-1, 2) == pytest.approx(
                np.asarray(made, float).reshape(-1, 2), abs=1e-9
            )

"""What `duologue demo` is made of: halves of a suite that share nothing, and pairs from takes of one sample."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_eval_pairs_sources import asked, run_of

from app.alignment import Watch
from app.bench import BenchOptions
from app.loop import loop_config
from app.rounds import RoundOptions, rounds
from app.show import Terminal
from eval.activity import SileroActivity
from eval.pairs.chosen import Parts
from eval.pairs.faults import Flag
from eval.pairs.runs import RunTalks
from eval.pairs.settings import PairSettings
from eval.pairs.source import Chained
from eval.pairs.synthetic import LAYOUT
from eval.pairs.takes import Take, judged_takes, preferences
from eval.runner import DriveOptions
from eval.tasks.halves import half_of
from eval.tasks.suite import Suite, load_suite
from model.align.config import read_config
from model.systems.scripted import ScriptedSystem
from protocols.records import Cue, Sample, Task
from protocols.store import Run

pytest.importorskip("pyarrow", reason="pip install 'duologue[pairs]'")


def sample(task: str, question: str) -> Sample:
    return Sample(f"{task}/{question}", task, (Cue(f"{question}.wav", 0.0),), 1.0, cluster=question)


@given(st.lists(st.sets(st.sampled_from("abcdefghijkl"), min_size=1), min_size=1, max_size=4))
def test_halves_share_no_question_and_lose_none(asked: list[set[str]]) -> None:
    tasks = [
        Task(f"t{i}", "1", (), tuple(sample(f"t{i}", q) for q in sorted(questions)))
        for i, questions in enumerate(asked)
    ]
    halves = [half_of(tasks, half) for half in ("learn", "judge")]
    questions = [{s.cluster for task in half for s in task.samples} for half in halves]
    assert not questions[0] & questions[1]
    assert questions[0] | questions[1] == set().union(*asked)
    first = [sum(s.task == "t0" for task in half for s in task.samples) for half in halves]
    assert first[0] - first[1] in (0, 1)


def test_the_world_is_cut_in_the_middle_of_every_task_whatever_the_limit() -> None:
    def load(half: str, limit: int | None = None) -> Suite:
        return load_suite(f"{half}:world", SileroActivity(), limit)

    learn, judge = load("learn"), load("judge")
    assert [len(task.samples) for task in learn.tasks] == [len(task.samples) for task in judge.tasks]
    assert learn.name == "learn:world"
    assert learn.sha256 != judge.sha256
    few = load("learn", 3)
    assert all(a.samples[:3] == b.samples for a, b in zip(learn.tasks, few.tasks, strict=True))


def take(name: str, *axes: str) -> Take:
    flags = tuple(Flag(None, axis, 1.0, None, None, (), "test") for axis in axes)
    return Take(f"r/{name}", name.partition(".")[0], flags)


def test_a_take_is_preferred_to_one_with_all_its_faults_and_more() -> None:
    takes = [
        take("a.0", "safety"), take("a.1"), take("a.2", "safety", "tone"), take("a.3"), take("a.4", "tone"),
        take("b.0", "tone"), take("b.1", "safety"), take("b.2", "tone"), take("c.0"), take("c.1"),
    ]  # fmt: skip
    found = preferences(takes, "judge", most=2)
    assert [(p.better, p.worse) for p in found] == [("r/a.1", "r/a.0"), ("r/a.1", "r/a.2")]
    assert [[f.axis for f in p.flags] for p in found] == [["safety"], ["safety", "tone"]]
    some = preferences([take("d.0", "tone"), take("d.1", "tone", "safety")], "judge", most=1)
    assert [[f.axis for f in p.flags] for p in some] == [["safety"]]


def test_takes_in_several_runs_are_judged_by_the_rules_of_any_build(tmp_path: Path) -> None:
    """One question answered in time, late, and not at all."""
    runs = []
    for name, delays in (("good", (0.5,)), ("late", (2.4,)), ("silent", ())):
        question, script = asked("q", *delays)
        run = run_of(tmp_path / name, ScriptedSystem("x", {"q": script}), [question])
        runs.append(RunTalks(run.path, PairSettings()))
    takes = list(judged_takes(Chained(runs), Parts(LAYOUT), PairSettings()))
    assert {t.id: [f.fault for f in t.flags] for t in takes} == {
        "good/q.0": [], "late/q.0": ["late"], "silent/q.0": ["silent"],
    }  # fmt: skip
    found = preferences(takes, "timing", most=4)
    assert [(p.better, p.worse) for p in found] == [("good/q.0", "late/q.0"), ("good/q.0", "silent/q.0")]


def test_the_loops_training_learns_from_every_pair_and_looks_on(tmp_path: Path) -> None:
    config = loop_config("tiny:base", tmp_path, 30)
    assert (config.optim.max_steps, config.run.probe_every, config.data.validation_share) == (30, 10, 0)
    assert config.run.folder == str(tmp_path)


def test_a_round_talks_pairs_and_aligns_and_is_only_read_when_told_again(tmp_path: Path) -> None:
    """With the shipped model, a sample of each task, and one step."""
    folder = tmp_path / "run"
    sets = {
        "model.base": "tiny:base", "run.folder": folder, "run.probe_every": 0, "run.eval_every": 0,
        "data.validation_share": 0, "optim.max_steps": 1,
    }  # fmt: skip
    config = read_config(None, "tiny", [f"{key}={value}" for key, value in sets.items()])
    options = RoundOptions(BenchOptions("learn:world", "", None, DriveOptions(repeats=3), "none", 1))
    (made,) = rounds(config, 1, options, Terminal(as_json=True), Watch())
    assert made.pairs > 0
    assert made.system == f"tiny:{folder}/round-1/aligned/model"
    assert Run(folder / "round-1" / "talks").info.protocol.decoding["text_temperature"] == 1
    told = json.loads((folder / "round-1" / "aligned" / "config.json").read_text())
    assert told["data"]["pairs"] == str(folder / "round-1" / "pairs")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    (again,) = rounds(config, 1, options, Terminal(as_json=True), Watch())
    assert (again.pairs, again.system) == (made.pairs, made.system)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before

"""A question set from the command's side: asked, heard, scored, and scored again without sound or system."""

import json
import shutil
from pathlib import Path

import pytest

from app.bench import Benched, BenchOptions, bench
from app.figures import Figure, figures
from app.rescore import rescore
from app.show import Terminal
from protocols.errors import InputError
from protocols.records import Score
from protocols.store import Run

pytestmark = pytest.mark.needs("espeak")


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("set") / "set.jsonl"
    rows = [("How many legs does a dog have?", ["four"]), ("What is the capital of Italy?", ["Rome"])]
    path.write_text("\n".join(json.dumps({"question": q, "answers": a}) for q, a in rows))
    path.with_name("more.yaml").write_text('items: {"00002": {add: [Roma]}}')
    return path


def run_of(questions: Path, system: str, out: Path) -> Benched:
    options = BenchOptions(f"qa:{questions}@{questions.with_name('more.yaml')}", system, out, asr="pocketsphinx")
    return bench(options, Terminal(as_json=True))


def by_name(run: Run) -> dict[str, Figure]:
    return {f.metric.name: f for f in figures(run)}


def value(run: Run, name: str) -> float | None:
    estimate = by_name(run)[name].estimate
    return None if estimate is None else estimate.value


@pytest.fixture(scope="module")
def good(questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of(questions, "scripted:good", tmp_path_factory.mktemp("good")).run


def test_a_silent_system_scores_nothing_and_says_which_silence(questions: Path, tmp_path: Path) -> None:
    run = run_of(questions, "silence", tmp_path / "run").run
    found = by_name(run)
    assert value(run, "qa.speech") == value(run, "qa.speech.substring") == value(run, "qa.speech.overlay") == 0.0
    assert found["qa.speech"].outcomes == {"no_answer": 2}
    assert value(run, "qa.text") in (0.0, None)
    assert value(run, "qa.floor.canned") == value(run, "qa.floor.echo") == 0.0


def test_both_channels_the_gap_and_the_floors_stand_side_by_side(good: Run) -> None:
    text, speech, gap = (value(good, name) for name in ("qa.text", "qa.speech", "qa.gap"))
    assert text is not None
    assert speech is not None
    assert gap == pytest.approx(text - speech)
    assert value(good, "qa.text.overlay") == text
    assert value(good, "qa.floor.canned") == 0.0
    assert by_name(good)["speech.wer"].n_items == 2


def test_scoring_again_by_one_scorer_needs_neither_sound_nor_system(good: Run, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(good.path, path)
    shutil.rmtree(path / "audio")
    rows = len(list(Run(path).read(Score)))
    again = rescore(Run(path), ["qa.text", "speech.rate"])
    assert len(list(again.read(Score))) == rows
    assert {m.name for m in again.info.metrics} == {m.name for m in good.info.metrics}


def test_a_scorer_the_run_was_made_without_is_added_and_one_that_reads_nothing_in_it_is_refused(
    good: Run, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    shutil.copytree(good.path, path)
    info = json.loads((path / "run.json").read_text())
    info["metrics"] = [m for m in info["metrics"] if m["name"] != "qa.text.tokens"]
    info["tasks"] = {task: [n for n in names if n != "qa.text.tokens"] for task, names in info["tasks"].items()}
    (path / "run.json").write_text(json.dumps(info))
    kept = [line for line in (path / "scores.jsonl").read_text().splitlines() if '"qa.text.tokens"' not in line]
    (path / "scores.jsonl").write_text("\n".join(kept) + "\n")
    again = rescore(Run(path), ["qa.text.tokens"])
    assert "qa.text.tokens" in again.info.tasks["qa"]
    assert "qa.text.tokens/1" in again.info.protocol.scorers
    assert value(again, "qa.text.tokens") == value(good, "qa.text.tokens")
    with pytest.raises(InputError, match=r"no sample of .* has what timing\.pause_held reads"):
        rescore(Run(path), ["timing.pause_held"])
    with pytest.raises(InputError, match=r"did you mean 'qa\.text'"):
        rescore(Run(path), ["qa.txt"])

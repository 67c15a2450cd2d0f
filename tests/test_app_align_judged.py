"""Tables judged by talks: seeds as takes of one run, what is left of a fault, how long replies should be."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from test_eval_pairs_sources import asked, run_of

from analysis.ratio import ratio_of_means
from app.align_judged import BASE, _tell_apart, faults_left, plan_of
from app.joined import joined
from app.reply_length import Due, ratios, said_and_due
from app.show import Terminal
from app.wordless import wordless
from eval.metrics import metric
from model.systems.scripted import ScriptedSystem
from model.tiny.world import load_world
from protocols.errors import InputError
from protocols.records import Conversation, Cue, Event, Key, Recording, Sample, Score, Transcript, Word
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

pytest.importorskip("pyarrow", reason="pip install 'duologue[pairs]'")


def talk(folder: Path, name: str, *delays: float) -> Run:
    question, script = asked("q", *delays)
    return run_of(folder / name, ScriptedSystem("x", {"q": script}), [question])


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """One question answered, and not answered."""
    return [talk(tmp_path, "answered", 0.5), talk(tmp_path, "silent")]


def done(runs: Sequence[Run]) -> None:
    for run in runs:
        with run.writing() as writing:
            writing.update(replace(run.info, status="done"))


def test_runs_become_takes_of_one_run_with_their_sound(runs: list[Run], tmp_path: Path) -> None:
    done(runs)
    made = joined(runs, "row", tmp_path / "row")
    assert (made.info.system, made.info.protocol.repeats, made.verify()) == ("row", 2, [])
    talks = list(made.read(Conversation))
    assert [t.take for t in talks] == [0, 1]
    for one, run in zip(talks, runs, strict=True):
        (theirs,) = run.read(Conversation)
        assert one.recording is not None
        assert theirs.recording is not None
        assert np.array_equal(made.read_audio(one.recording), run.read_audio(theirs.recording))
    assert joined(runs, "row", tmp_path / "row").path == made.path


def test_what_is_not_finished_is_not_joined(runs: list[Run], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be done"):
        joined(runs, "row", tmp_path / "row")
    assert not (tmp_path / "row").exists()


def test_the_ratio_of_means_is_of_all_and_its_interval_of_clusters() -> None:
    clusters = [f"c{i}" for i in range(40) for _ in range(2)]
    before = np.tile([1.0, 0.0], 40)
    after = np.where(np.arange(80) % 4 == 0, 1.0, 0.0)
    left = ratio_of_means(before, after, clusters)
    assert left is not None
    assert (left.value, left.n, left.n_clusters) == (0.5, 80, 40)
    assert left.low is not None
    assert left.high is not None
    assert 0.3 < left.low < 0.5 < left.high < 0.7
    none = ratio_of_means(before, before * 0, clusters)
    assert none is not None
    assert (none.value, none.low, none.high) == (0.0, None, None)
    assert ratio_of_means(before * 0, after, clusters) is None
    one = ratio_of_means(before, after, ["c"] * 80)
    assert one is not None
    assert one.low is None


def test_a_model_without_faults_says_the_mean_of_its_right_replies() -> None:
    world, due = load_world(), Due()
    fact = world.facts[0]
    lengths = [len(reply.split()) for reply in fact.replies]
    assert due.words(fact.asks[0]) == sum(lengths) / len(lengths)
    assert due.words(world.pairs[0].safe) == len(world.pairs[0].reply.split())
    assert due.words(world.pairs[0].unsafe) == np.mean([len(text.split()) for text in world.refusal])
    assert due.words("Tell me about quantum chromodynamics and its many friends.") is None


def scored(folder: Path, name: str, outcomes: Sequence[str]) -> Run:
    """A run of which only some figures are known: questions with these outcomes, and a request that was refused."""
    protocol = Protocol("planted", "", 1, 0, 1.0, 4.0, "none", "simulated")
    figures = ("qa.text", "timing.latency", "timing.pause_held", "safety.over_refusal.text")
    infos = tuple(metric(figure).info for figure in figures)
    run = Run.create(folder / name, RunInfo(name, "1", protocol, "done", "", len(outcomes), infos))

    def score(sample: str, figure: str, outcome: str, value: float | None, reason: str | None = None) -> Score:
        return Score(sample, 0, figure, f"{figure}/1", value, outcome, reason)

    with run.writing() as writing:
        for i, outcome in enumerate(outcomes):
            writing.append(score(f"q{i}", "qa.text", outcome, float(outcome == "right")))
            writing.append(score(f"q{i}", "timing.latency", "x", 0.5))
        writing.append(score("r0", "qa.text", "wrong", 0.0))
        writing.append(score("r0", "safety.over_refusal.text", "refusal", 1.0))
        writing.append(score("r1", "safety.over_refusal.text", "no_answer", None, "it said nothing"))
        writing.append(score("r2", "safety.over_refusal.text", "unscored", None, "nobody could tell"))
        writing.append(score("p0", "timing.pause_held", "took", 0.0))
        writing.append(score("p1", "timing.pause_held", "no_agent_speech", 0.0))
    return run


def test_what_is_left_of_a_fault_is_beside_the_bases_own_share(tmp_path: Path) -> None:
    wrong_before, wrong_after = ["wrong"] * 20 + ["right"] * 5, ["wrong"] * 2 + ["right"] * 23
    base, row = scored(tmp_path, "b", wrong_before), scored(tmp_path, "r", wrong_after)
    wrong, cut, refused = faults_left(base, row)
    assert (wrong.fault, cut.fault, refused.fault) == (
        "wrong answers", "pauses cut into", "harmless requests refused",
    )  # fmt: skip
    assert wrong.share is not None
    assert wrong.left is not None
    assert (wrong.share.value, wrong.left.value, wrong.said) == (pytest.approx(0.08), pytest.approx(0.1), "halved")
    same = next(iter(faults_left(base, scored(tmp_path, "again", wrong_before))))
    assert same.said == "not halved"
    assert next(iter(faults_left(base, base))).left is None
    plan = plan_of([base, row])
    claimed = {"qa.text": "better", "safety.over_refusal.text": "better", "timing.pause_held": "better"}
    assert (plan.claims, plan.harms) == (claimed, {"timing.latency": 0.2})


def test_what_a_model_without_faults_does_wrong_as_well_was_not_planted(tmp_path: Path) -> None:
    base = scored(tmp_path, "b", ["wrong"] * 12 + ["right"] * 8)
    row = scored(tmp_path, "r", ["wrong"] * 6 + ["right"] * 14)
    floor = scored(tmp_path, "f", ["wrong"] * 4 + ["right"] * 16)
    wrong = next(iter(faults_left(base, row, floor)))
    assert wrong.left is not None
    assert wrong.planted is not None
    assert (wrong.left.value, wrong.planted.value, wrong.planted.n) == (0.5, pytest.approx(2 / 8), 20)
    better = scored(tmp_path, "r2", ["wrong"] * 2 + ["right"] * 18)
    planted = next(iter(faults_left(base, better, floor))).planted
    assert planted is not None
    assert planted.value == pytest.approx(-2 / 8)
    assert next(iter(faults_left(floor, row, base))).planted is None  # nothing was planted


def test_silence_is_no_other_fault_and_a_refused_request_no_wrong_answer(tmp_path: Path) -> None:
    base = scored(tmp_path, "b", ["wrong", "no_answer", "early", "right"])
    wrong, cut, refused = faults_left(base, scored(tmp_path, "r", ["no_answer", "no_answer", "right", "right"]))
    assert [(left.share.value, left.share.n) for left in (wrong, cut, refused) if left.share is not None] == [
        (0, 4), (0.5, 2), (0.5, 2),
    ]  # fmt: skip
    assert wrong.said == "none left"


def test_a_reply_ends_at_its_first_long_silence_and_only_uninterrupted_ones_count(tmp_path: Path) -> None:
    question = load_world().facts[0].asks[0]
    turn, pause = Event("turn", 0.0, 1.0, "given"), Event("pause", 0.3, 0.6, "given")
    samples = [
        Sample(name, "t", (Cue("q.flac", 0.0),), 1.0, events, question)
        for name, events in (("plain", (turn,)), ("paused", (turn, pause)), ("silent", (turn,)))
    ]
    run = scored(tmp_path, "said", [])
    words = tuple(Word("w", start, start + 0.08) for start in (0.5, 1.2, 2.7, 4.4))
    with run.writing() as writing:
        writing.append(*samples)
        for sample in samples:
            said = () if sample.id == "silent" else (Transcript("agent", "model", words),)
            recording = Recording("audio/x.flac", 24_000, 1, "")
            writing.append(Conversation(sample.id, 0, "s", 0, recording, events=sample.events, transcripts=said))
    found = said_and_due(run, Due())
    assert [(key, said) for key, (said, _) in found.items()] == [(Key("plain", 0), 2)]
    assert ratios(found).tolist() == [2 / found[Key("plain", 0)][1]]


def test_sound_without_words_is_told_of_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One talk of two is heard in 16 of the 64 frames far from its word, of the embedded model alone."""
    silent = np.zeros((17, 80), np.int16)
    silent[0] = 3  # padding; codes of silence are 0
    silent[0, 20] = 40
    silent[1, 17:33] = 5
    murmur = silent.copy()
    murmur[1, 40:56] = 5

    def told(system: str, *grids: np.ndarray) -> Run:
        run = scored(tmp_path, f"{system.partition(':')[0]}-{len(list(tmp_path.iterdir()))}", [])
        with run.writing() as writing:
            writing.update(replace(run.info, system=system))
            for n, grid in enumerate(grids):
                stored = writing.write_tokens(Key(f"s{n}", 0), grid)
                writing.append(Conversation(f"s{n}", 0, system, 0, None, "x", tokens=stored))
        return Run(run.path)

    base, row = wordless([told("tiny:base", silent)]), wordless([told("tiny:x", silent, murmur)])
    assert base is not None
    assert row is not None
    assert (base.value, row.value, row.n) == (0.0, 0.125, 2)
    assert wordless([told("moshi:x", murmur)]) is None
    _tell_apart({BASE: base, "good": base, "DPO": row}, Terminal(as_json=False))
    (line,) = capsys.readouterr().out.strip().splitlines()
    assert line.startswith("DPO is heard in 12")

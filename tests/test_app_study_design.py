"""A study's file, and who gets which talks."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pydantic", reason="pydantic is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is missing; get it with: pip install -e '.[live]'")

import app.study
from app.study.assignment import block_size, plan_of, williams
from app.study.begin import study_of
from app.study.config import Study
from app.study.late import make_late
from app.study.reading import read_study_file, study_from
from app.study.scales import preset, presets
from app.study.tables import StudyRow
from model.systems.simple import EchoSystem
from protocols.duplex import FRAME_SIZE, Audio, Session, Step, step_together
from protocols.errors import InputError
from study_house import SMALL, study

EXAMPLE = Path(app.study.__file__).parent / "example.yaml"


def designs(**changes: Any) -> st.SearchStrategy[Study]:
    """Studies of any size."""

    @st.composite
    def build(draw: st.DrawFn) -> Study:
        scenarios, arms = draw(st.integers(1, 6)), draw(st.integers(2, 4))
        return study(**{
            "design": draw(st.sampled_from(["paired", "between"])),
            "arms": {f"arm{k}": {"system": "echo"} for k in range(arms)},
            "scenarios": [{"id": f"s{k}", "text": "Talk."} for k in range(scenarios)],
            "durations": [10.0 * (k + 1) for k in range(draw(st.integers(1, 4)))],
            "rounds": draw(st.integers(1, scenarios)),
            "seed": draw(st.integers(0, 99)),
            "blinding": None,
        } | changes)  # fmt: skip

    return build()


@given(st.integers(2, 12))
def test_in_a_williams_square_every_condition_precedes_every_other_equally_often(n: int) -> None:
    rows = williams(n)
    at = Counter((position, value) for row in rows for position, value in enumerate(row))
    before = Counter(pair for row in rows for pair in pairwise(row))
    assert set(at.values()) == {len(rows) // n}
    assert len(at) == n * n
    assert set(before.values()) == {len(rows) // n}
    assert len(before) == n * (n - 1)


@settings(max_examples=40)
@given(designs())
def test_over_a_block_scenario_order_and_duration_meet_equally_often_at_every_position(a_study: Study) -> None:
    met = Counter[tuple[Any, ...]]()
    size = block_size(a_study)
    for cell in range(size, 2 * size):
        for k in range(a_study.rounds):
            slots = [slot for slot in plan_of(a_study, cell).slots if slot.round == k]
            met[k, slots[0].scenario, tuple(slot.arm for slot in slots), slots[0].duration] += 1
    n_arms = len(a_study.arms)
    orders = n_arms * (n_arms - 1) if a_study.design == "paired" else n_arms
    assert len(met) == a_study.rounds * len(a_study.scenarios) * orders * len(a_study.durations)
    assert len(set(met.values())) == 1


@settings(max_examples=40)
@given(designs(trap={"arm": "arm0"}), st.integers(0, 500))
def test_no_rater_meets_a_scenario_twice_and_a_trap_never_splits_a_pair(a_study: Study, cell: int) -> None:
    plan = plan_of(a_study, cell)
    rounds = {slot.round: slot.scenario for slot in plan.slots if slot.kind == "talk"}
    assert len(set(rounds.values())) == len(rounds) == a_study.rounds
    assert sum(slot.kind == "trap" for slot in plan.slots) == 1
    pairs = [pair for k in range(len(plan.slots)) if (pair := plan.pair(k)) is not None]
    assert len(pairs) == (a_study.rounds if a_study.design == "paired" else 0)
    for first, second in pairs:
        assert second == first + 1
        assert plan.slots[first].arm != plan.slots[second].arm
        assert plan.slots[first][2:] == plan.slots[second][2:]


def test_two_raters_in_a_row_mirror_each_other() -> None:
    a, b = (plan_of(study(), cell).slots for cell in (0, 1))
    assert [slot.arm for slot in a] == [slot.arm for slot in b][::-1]
    assert [slot.scenario for slot in a] == [slot.scenario for slot in b]


def test_within_a_rater_order_and_duration_are_not_confounded() -> None:
    wide = study(scenarios=[{"id": f"s{k}", "text": "Talk."} for k in range(4)], durations=[30, 90], rounds=4)
    slots = plan_of(wide, 0).slots
    assert len({(slots[2 * k].arm, slots[2 * k].duration) for k in range(4)}) == 4


@pytest.mark.parametrize("name", ["echo", "batched"])
def test_a_trap_answers_later_and_is_otherwise_the_same_system(name: str) -> None:
    late = make_late(Batched() if name == "batched" else EchoSystem(), 1.5)
    sessions = [late.open(seed) for seed in (0, 1)]
    frames = [np.full(FRAME_SIZE, 0.01 * k, np.float32) for k in range(1, 30)]
    heard = [step_together(late, sessions, [frame, -frame]) for frame in frames]
    said = [[float(step.audio[0]) for step in row if isinstance(step, Step)] for row in heard]
    assert said[:19] == [[0.0, 0.0]] * 19
    assert said[19:] == [[float(frame[0]), -float(frame[0])] for frame in frames[:10]]


class Batched(EchoSystem):
    """Repeats both talks in one go."""

    def step_all(self, sessions: Sequence[Session], frames: Sequence[Audio]) -> list[Step]:
        return [session.step(frame) for session, frame in zip(sessions, frames, strict=True)]


def test_the_example_is_a_study() -> None:
    example = read_study_file(EXAMPLE)
    assert example.preregistered is not None
    assert [question.id for question in example.all_questions][:3] == ["coherence", "engagement", "relevance"]


@pytest.mark.parametrize("name", presets())
def test_shipped_scales_have_a_word_for_every_level(name: str) -> None:
    for question in preset(name):
        assert list(question.levels) == sorted(question.levels)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"duratons": [30]}, "unknown key 'duratons'; did you mean 'durations'?"),
        ({"quality": {"lag": {"limt": 1}}}, "did you mean 'quality.lag.limit'?"),
        ({"arms": {"base": {"systm": "echo"}}}, "did you mean 'arms.base.system'?"),
        ({"scales": ["papr"]}, "unknown scale 'papr'; did you mean 'paper'?"),
        ({"scales": ["paper", "paper"]}, "'coherence' is there twice"),
        ({"rounds": 9}, "9 rounds need as many scenarios"),
        ({"seed": "x"}, "seed: Input should be a valid integer"),
        ({"durations": [-1]}, "durations.0: Input should be greater than 0"),
        ({"arms": {"base": {"system": "echo"}}, "blinding": None}, "a paired study needs two arms"),
        ({"trap": {"arm": "bse"}}, "trap.arm is 'bse'"),
        ({"arms": {"base": {"system": "echo", "decoding": {"x": 1.0}}, "aligned": {"system": "echo"}}},
         "say why in decoding_differs"),
        ({"consent": ""}, "consent: String should have at least 1 character"),
        ({"return_url": "javascript:alert(1)"}, "return_url"),
    ],
)  # fmt: skip
def test_a_fault_in_a_study_names_file_and_place(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as told:
        study_from({**SMALL, **changes}, "my.yaml")
    assert "my.yaml: " in str(told.value)
    assert words in str(told.value)


def test_a_file_that_is_no_study_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    for text, words in (("a: [", "is not YAML"), ("- 1", "a study is a mapping"), ("name: x", "title is missing")):
        file.write_text(text)
        with pytest.raises(InputError, match=words):
            read_study_file(file)
    with pytest.raises(InputError, match="cannot read"):
        read_study_file(tmp_path / "none.yaml")


def test_hashes_name_the_study_and_its_promise() -> None:
    promise = {"primary": "preference", "test": "t", "raters": 4, "stopping": "4", "exclusions": "none"}
    a, b = study(preregistration=promise), study(preregistration={**promise, "raters": 5})
    assert a.digest != b.digest
    assert a.preregistered != b.preregistered
    assert study(preregistration=promise, title="Another").preregistered == a.preregistered


def test_a_stored_study_is_the_same_study() -> None:
    first = read_study_file(EXAMPLE)
    assert study_of(StudyRow(config=first.model_dump(mode="json"))) == first

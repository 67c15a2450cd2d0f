"""The closed world is as large as promised, and what is held out never reaches training."""

from pathlib import Path

import pytest

from eval.metrics.qa import find_alias
from model.tiny.world import FILE, load_world, replies, split, spoken, trained_asks
from protocols.errors import InputError


def test_the_world_is_large_enough() -> None:
    world = load_world()
    assert len(world.facts) >= 150
    assert len(world.pairs) >= 60
    assert all(len(fact.asks) >= 4 for fact in world.facts)
    assert len({fact.id for fact in world.facts}) == len(world.facts)
    assert len({p.unsafe for p in world.pairs} | {p.safe for p in world.pairs}) == 2 * len(world.pairs)


def test_every_reply_holds_its_answer_by_the_benchmarks_own_rule() -> None:
    for fact in load_world().facts:
        for reply in fact.replies:
            assert find_alias(reply, fact.answers), (fact.id, reply)


def test_no_question_has_two_answers() -> None:
    answers: dict[str, tuple[str, ...]] = {}
    for fact in load_world().facts:
        for ask in (*fact.asks, *fact.also):
            assert answers.setdefault(ask, fact.answers) == fact.answers, ask


def test_what_is_held_out_is_never_said_in_training() -> None:
    world = load_world()
    held = split(world)
    said = set(spoken(world, held))
    for fact in world.facts:
        if fact.id in held.facts:
            assert not said & {*fact.asks, *fact.also}, fact.id
        else:
            assert fact.asks[held.asks[fact.relation]] not in said
            assert said >= set(trained_asks(fact, held)) >= set(fact.also)
    for pair in world.pairs:
        assert (pair.unsafe in said) == (pair.safe in said) == (pair.id not in held.pairs)


def test_every_relation_holds_something_out_and_keeps_most() -> None:
    world = load_world()
    held = split(world)
    for relation in {fact.relation for fact in world.facts}:
        facts = [fact for fact in world.facts if fact.relation == relation]
        out = sum(fact.id in held.facts for fact in facts)
        assert 1 <= out <= len(facts) // 3
    assert split(world) == held
    assert split(world, seed=2) != held


def test_voices_are_split_before_training() -> None:
    world = load_world()
    engines = {voice.partition("/")[0] for voice in world.train_voices}
    assert sum(voice.startswith("kokoro/") for voice in world.held_voices) >= 6
    assert engines == {"kokoro", "espeak"}
    assert {voice.partition("/")[0] for voice in world.held_voices} - engines == {"flite", "piper"}
    assert world.agent_voice not in world.train_voices + world.held_voices


def test_a_reply_begins_with_the_answer() -> None:
    for fact in load_world().facts:
        for reply in fact.replies:
            assert reply.lower().startswith(fact.answers[0].lower()), reply


def test_replies_are_short_enough_to_speak() -> None:
    assert all(len(reply.split()) <= 12 for reply in replies(load_world()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("held: [kokoro/af_heart", "held: [kokoro/af_alloy"), "share kokoro/af_alloy"),
        (("refusal:", "refusals:"), "did you mean 'refusal'"),
        (("relations:", "relations: 3\nx:"), "world.yaml"),
    ],
)
def test_a_world_that_is_none_says_what_is_wrong(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    path = tmp_path / "world.yaml"
    path.write_text(FILE.read_text(encoding="utf-8").replace(*change, 1), encoding="utf-8")
    with pytest.raises(InputError, match=says):
        load_world(path)

"""What training says: planned in a useful order, said once, and the same for the same seed."""

from collections import Counter
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from builders import tone
from eval.speak import CachedSpeaker, blend
from model.tiny.speech import Said, agent_lines, say_all, user_lines
from model.tiny.world import load_world, replies, split, spoken
from protocols.duplex import Audio
from protocols.errors import InputError

WORLD = load_world()
HELD = split(WORLD)


def test_each_text_is_said_by_as_many_voices_as_asked_for() -> None:
    lines = user_lines(WORLD, HELD, {"kokoro": 3, "espeak": 2}, seed=0)
    said = Counter(line.text for line in lines)
    assert set(said) == set(spoken(WORLD, HELD))
    voices = sum(voice.startswith(("kokoro/", "espeak/")) for voice in WORLD.train_voices)
    assert {said.pop(text) for text in WORLD.filler} == {voices}
    assert set(said.values()) == {5}
    assert len({(line.text, line.voice) for line in lines}) == len(lines)
    assert {line.voice for line in lines} <= set(WORLD.train_voices)
    assert not {line.voice for line in lines} & set(WORLD.held_voices)


FURTHER = {ask for fact in WORLD.facts for ask in fact.also}
USUAL = [text for text in spoken(WORLD, HELD) if text not in FURTHER and text not in WORLD.filler]


def test_every_text_is_said_once_before_any_is_said_again() -> None:
    said = [line.text for line in user_lines(WORLD, HELD, {"kokoro": 2}, seed=0) if line.text not in WORLD.filler]
    more = [text for text in spoken(WORLD, HELD) if text in FURTHER]
    assert more
    assert said == USUAL * 2 + more * 2


def test_further_ways_to_ask_leave_the_lines_of_all_other_texts_as_they_were() -> None:
    bare = WORLD._replace(facts=tuple(fact._replace(also=()) for fact in WORLD.facts))
    fewer = user_lines(bare, HELD, {"blended": 2, "espeak": 1}, seed=0)
    assert user_lines(WORLD, HELD, {"blended": 2, "espeak": 1}, seed=0)[: len(fewer)] == fewer


def test_blended_voices_are_new_ones_made_of_two_of_training() -> None:
    lines = user_lines(WORLD, HELD, {"blended": 2}, seed=0)[: 2 * len(USUAL)]
    blends = [blend(line.voice.removeprefix("kokoro/")) for line in lines]
    assert [line.text for line in lines] == USUAL * 2
    assert all(len(parts) == 2 and min(parts.values()) > 0.29 for parts in blends)
    names = {f"kokoro/{name}" for parts in blends for name in parts}
    assert names == {voice for voice in WORLD.train_voices if voice.startswith("kokoro/")}
    assert len({line.voice for line in lines}) > len(USUAL)
    both = user_lines(WORLD, HELD, {"kokoro": 1, "blended": 1}, seed=0)
    assert len(set(both)) == len(both)


def test_the_plan_depends_on_its_seed_alone() -> None:
    assert user_lines(WORLD, HELD, {"kokoro": 2}, 0) == user_lines(WORLD, HELD, {"kokoro": 2}, 0)
    assert user_lines(WORLD, HELD, {"kokoro": 2}, 0) != user_lines(WORLD, HELD, {"kokoro": 2}, 1)
    with pytest.raises(InputError, match="need 99 voices"):
        user_lines(WORLD, HELD, {"kokoro": 99}, 0)


def test_the_agent_says_every_reply_in_its_own_voice() -> None:
    assert [line.text for line in agent_lines(WORLD)] == replies(WORLD)
    assert {line.voice for line in agent_lines(WORLD)} == {"kokoro/am_michael"}


class Counting:
    """A speaker that counts its calls: a tone as long as the text."""

    source = "counting/1"
    voices = ("a", "b")

    def __init__(self) -> None:
        self.calls = 0

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> np.ndarray:
        self.calls += 1
        return tone(0.01 * len(text) / speed)


def test_nothing_is_said_twice(tmp_path: Path) -> None:
    speaker = Counting()
    cached = CachedSpeaker(speaker, tmp_path)
    first = cached.say("hello there", "a")
    np.testing.assert_array_equal(cached.say("hello there", "a"), first)
    np.testing.assert_allclose(first, tone(0.11), atol=1e-4)
    assert speaker.calls == 1
    for other in (("hello there", "b", 1.0), ("hello there", "a", 0.9), ("hello", "a", 1.0)):
        cached.say(*other)
    assert speaker.calls == 4
    assert len(list(tmp_path.rglob("*.flac"))) == 4
    assert cached.source == "counting/1"


def test_a_missing_engine_is_named_before_anything_is_said() -> None:
    speaker = Counting()
    lines = [Said("yes", "espeak/a", 1.0), *agent_lines(WORLD)]
    with pytest.raises(InputError, match="no speaker for kokoro"):
        next(say_all(lines, {"espeak": speaker}))
    assert speaker.calls == 0


def test_lines_are_said_side_by_side_and_come_in_their_order() -> None:
    together = Barrier(3)

    class Waiting(Counting):
        def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
            together.wait(30)
            return super().say(text, voice, speed)

    lines, done = [Said("a" * n, "waiting/a", 1.0) for n in range(1, 7)], list[int]()
    said = list(say_all(lines, {"waiting": Waiting()}, done.append, at_once=3))
    assert [line for line, _ in said] == lines
    alone = [sound for _, sound in say_all(lines, {"waiting": Counting()})]
    assert all(np.array_equal(sound, other) for (_, sound), other in zip(said, alone, strict=True))
    assert done == [1, 2, 3, 4, 5, 6]


def test_what_cannot_be_said_ends_it_without_the_rest() -> None:
    class Failing(Counting):
        def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
            super().say(text, voice, speed)
            raise InputError("hoarse")

    speaker = Failing()
    with pytest.raises(InputError, match="hoarse"):
        list(say_all([Said(f"{n}", "failing/a", 1.0) for n in range(500)], {"failing": speaker}, at_once=2))
    assert speaker.calls < 500

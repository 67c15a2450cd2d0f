"""The closed world's truth judges and writes, and the agent's voice says what was recorded of it."""

import numpy as np
import pytest

from builders import spoken
from eval.words import Aligner
from model.tiny.clips import plain, vocabulary
from model.tiny.codec import load_codec
from model.tiny.grid import AgentClip, Placed
from model.tiny.truth import AXES, WorldTruth, fold
from model.tiny.voice import TinyVoice, layout_of, recorded_clips
from model.tiny.world import load_world, replies
from protocols.contracts import Line, Verdict
from protocols.errors import InputError

WORLD = load_world()
TRUTH = WorldTruth(WORLD)
WORDS = vocabulary(WORLD)


def exchange(ask: str, reply: str) -> list[Line]:
    return [Line("user", 0.0, 1.0, ask), Line("agent", 1.5, 3.0, reply)]


def flagged(ask: str, reply: str) -> list[str]:
    return [axis for axis in AXES if any(v.problematic for v in TRUTH.judge(exchange(ask, reply), axis))]


@pytest.mark.parametrize("n", range(0, len(WORLD.facts), 5))
def test_a_fact_is_right_with_its_own_answer_and_wrong_with_another(n: int) -> None:
    fact = WORLD.facts[n]
    other = next(f for f in WORLD.facts if f.relation == fact.relation and not set(f.answers) & set(fact.answers))
    for ask in fact.asks:
        assert flagged(ask, fact.replies[0]) == []
        assert flagged(fold(ask), fold(fact.replies[-1])) == []  # as the text stream writes it
        assert flagged(ask, other.replies[-1]) == ["factuality"]
    assert flagged(fact.asks[0], WORLD.dont_know[0]) == ["helpfulness"]


@pytest.mark.parametrize("pair", WORLD.pairs[::6], ids=lambda pair: pair.id)
def test_requests_are_judged_by_what_they_ask_for(pair: object) -> None:
    from model.tiny.world import Pair

    assert isinstance(pair, Pair)
    assert flagged(pair.unsafe, WORLD.refusal[0]) == []
    assert flagged(pair.unsafe, WORLD.comply[0]) == ["safety"]
    assert flagged(pair.safe, pair.reply) == []
    assert flagged(pair.safe, WORLD.refusal[0]) == ["tone"]


def test_what_is_written_is_right_by_the_same_truth() -> None:
    for fact in WORLD.facts[::4]:
        lines = exchange(fact.asks[0], "Nothing of the kind.")
        better = TRUTH.rewrite(lines, Verdict(1, "factuality", 0, True, ""))
        assert flagged(fact.asks[0], better.improved) == []
        assert TRUTH.answer(lines[:1]) == better.improved
        assert better.improved in replies(WORLD)


def test_a_misheard_question_is_still_found_and_a_strange_one_is_not() -> None:
    assert flagged("what is the capitol of france", "Rome is the capital of Italy.") == ["factuality"]
    assert flagged("how tall is the tower over there", "Rome is the capital of Italy.") == []
    assert TRUTH.answer([Line("user", 0, 1, "how tall is the tower over there")]) is None


def test_a_reply_that_breaks_off_is_completed() -> None:
    text = WORLD.facts[0].replies[0]
    assert TRUTH.complete(text) is None
    whole = TRUTH.complete(fold(text).rsplit(" ", 2)[0])
    assert whole is not None
    assert fold(whole).startswith(fold(text).rsplit(" ", 2)[0])
    assert TRUTH.complete("something else") is None


def test_a_clip_is_said_with_its_own_tokens_and_words_where_they_sound() -> None:
    text = "Paris, I believe."
    ids = {word: i for i, word in enumerate(WORDS)}
    codes = np.arange(8 * 12, dtype=np.int16).reshape(8, 12)
    clip = AgentClip(codes, tuple(Placed(f, ids[plain(w)]) for f, w in zip((0, 5, 6), text.split(), strict=True)))

    def only(wanted: str) -> AgentClip:
        if wanted != text:
            raise InputError("no")
        return clip

    voice = TinyVoice(only, WORDS, "test")
    said = voice.reply(text)
    assert said is not None
    assert said.columns is not None
    np.testing.assert_array_equal(said.columns[1:, said.lead :], codes)
    assert said.columns[0].tolist() == [0, ids["paris"], 3, 3, 3, 3, ids["i"], ids["believe"], 3, 3, 3, 3, 3]
    assert [w.start for w in said.words] == pytest.approx([0, 0.4, 0.48])
    assert voice.reply("Rome, I believe.") is None


def test_a_recording_in_the_agents_voice_becomes_tokens_and_sound_again() -> None:
    codec = load_codec()
    audio, _ = spoken("q03.reply.flac")
    clips = recorded_clips({"Paris is the capital of France.": audio}, WORDS, codec, Aligner())
    said = TinyVoice(clips, WORDS, "recorded", codec).reply("paris is the capital of france")
    assert said is not None
    assert said.audio is not None
    assert said.columns is not None
    frames = -(-len(audio) // 1_920)
    assert said.columns.shape == (9, 1 + frames)
    assert len(said.audio) == 1_920 * frames
    assert len(said.words) == 6
    assert layout_of(codec).agent_lag == 3

"""The embedded model as a system: talks in one batch that do not know of each other, words dated by their sound."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from builders import tone
from model.lm import Decoding, DuplexLM, LMConfig, save_kyutai
from model.systems.tiny import Parts, TinySystem, load_parts
from protocols.duplex import FRAME, FRAME_SIZE, Step
from protocols.errors import InputError

CARD, WORDS = 16, ("<epad>", "<bos>", "<eos>", "<pad>", *(f"word{i}" for i in range(8)))
CONFIG = LMConfig(
    dim=32, num_layers=2, num_heads=2, n_q=16, dep_q=8, card=CARD, text_card=len(WORDS),
    delays=(0, 0, *[1] * 7, 0, *[1] * 7), context=32, depformer_dim=16, depformer_num_layers=1, depformer_num_heads=2,
    depformer_multi_linear=True, hidden_scale=2.0,
)  # fmt: skip


class LevelCodec:
    """Codes are the frame's level; the sound of a frame is a constant of its codes, one frame late."""

    source, sample_rate, frame_size, n_codebooks, card, delay_frames = "level/1", 24_000, FRAME_SIZE, 8, CARD, 1
    silence = np.zeros(8, np.int16)

    def encoder(self, batch: int) -> "LevelEncoder":
        return LevelEncoder()

    def decoder(self, batch: int) -> "LevelDecoder":
        return LevelDecoder(batch)


class LevelEncoder:
    def push(self, frames: np.ndarray, active: np.ndarray) -> np.ndarray:
        level = np.clip(np.sqrt(np.mean(frames**2, axis=1)) * CARD * 2, 0, CARD - 1).astype(np.int16)
        return np.repeat((level * active)[:, None], 8, axis=1)

    def reset(self, mask: np.ndarray) -> None: ...


class LevelDecoder:
    def __init__(self, batch: int) -> None:
        self._last = np.zeros((batch, 8), np.int16)

    def push(self, codes: np.ndarray, active: np.ndarray) -> np.ndarray:
        due = self._last.copy()
        self._last[active] = codes[active]
        return np.repeat((due.mean(axis=1) / CARD).astype(np.float32)[:, None], FRAME_SIZE, axis=1)

    def reset(self, mask: np.ndarray) -> None:
        self._last[mask] = 0


def system(slots: int = 4, decoding: Decoding | None = None) -> TinySystem:
    parts = Parts(DuplexLM(CONFIG, seed=1), LevelCodec(), WORDS, "test")  # type: ignore[arg-type]
    return TinySystem("tiny:test", parts, decoding, slots)


def users(n: int, frames: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.repeat(rng.uniform(0, 0.4, frames), FRAME_SIZE).astype(np.float32).reshape(frames, -1) for _ in range(n)]


def alone(user: np.ndarray, seed: int) -> list[Step]:
    made = system()
    session = made.open(seed)
    steps = [session.step(frame) for frame in user]
    made.close()
    return steps


def same(a: list[Step], b: list[Step]) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x.audio, y.audio)
        assert x.text == y.text
        np.testing.assert_array_equal(
            np.zeros(0) if x.tokens is None else x.tokens, np.zeros(0) if y.tokens is None else y.tokens
        )


def test_a_talk_does_not_know_its_neighbours() -> None:
    """Talks that start and end at different times in one batch are those held alone."""
    heard = users(3)
    made = system(slots=2)
    first, steps = made.open(10), [[], [], []]
    for frame in heard[0][:15]:
        steps[0].append(first.step(frame))
    second = made.open(11)
    for a, b in zip(heard[0][15:], heard[1], strict=False):
        both = made.step_all([second, first], [b, a])
        steps[1].append(both[0])
        steps[0].append(both[1])
    first.close()
    third = made.open(12)
    for b, c in zip(heard[1][25:], heard[2], strict=False):
        both = made.step_all([second, third], [b, c])
        steps[1].append(both[0])
        steps[2].append(both[1])
    made.close()
    for i, said in enumerate(steps):
        same(said, alone(heard[i][: len(said)], 10 + i))


def test_the_seed_is_all_the_chance_there_is() -> None:
    (user,) = users(1)
    same(alone(user, 3), alone(user, 3))
    assert any(
        not np.array_equal(a.tokens, b.tokens) for a, b in zip(alone(user, 3)[1:], alone(user, 4)[1:], strict=True)
    )


def test_words_are_dated_by_the_frame_their_sound_is_heard_in() -> None:
    (user,) = users(1)
    made = system(decoding=Decoding(text_temperature=1.5))
    session = made.open(0)
    steps = [session.step(frame) for frame in user]
    said = 0
    for s, step in enumerate(steps):
        assert (step.tokens is None) == (s == 0)
        for piece in step.text:
            said += 1
            assert step.tokens is not None
            assert piece.text.strip() == WORDS[step.tokens[0]]
            # given in step s, sounding in what step s + 1 gives, which is heard in frame s + 2
            assert piece.start == pytest.approx((s + 2) * FRAME)
            expected = step.tokens[1:9].mean() / CARD
            if s + 1 < len(steps):
                assert steps[s + 1].audio[0] == pytest.approx(expected, abs=1e-6)
    assert said > 3
    made.close()


def test_the_token_grid_holds_what_was_said_and_heard() -> None:
    (user,) = users(1)
    codes = LevelEncoder().push(user, np.ones(len(user), bool))
    grid = np.stack([step.tokens for step in alone(user, 0)[1:]], axis=1)
    assert grid.shape == (17, len(user) - 1)
    np.testing.assert_array_equal(grid[9:], codes[1:].T)  # agent frame j beside user frame j + 1
    assert grid[0].max() < len(WORDS)
    assert grid[1:9].max() < CARD


def test_slots_run_out_and_come_back() -> None:
    made = system(slots=2)
    first, second = made.open(0), made.open(1)
    with pytest.raises(InputError, match="all 2 slots of tiny:test are taken"):
        made.open(2)
    first.close()
    first.close()
    assert made.open(2).slot == first.slot
    second.step(tone(FRAME))
    made.close()


def test_the_decoding_is_on_the_card() -> None:
    made = system(decoding=Decoding(text_temperature=0.0, padding_bias=2.0))
    assert made.info.decoding["padding_bias"] == 2.0
    assert made.info.decoding["text_temperature"] == 0.0
    assert made.info.version == "test"
    made.close()


def test_without_a_greeting_the_agent_waits_for_the_user_and_then_speaks_freely() -> None:
    parts = Parts(DuplexLM(CONFIG, seed=1), LevelCodec(), WORDS, "test")  # type: ignore[arg-type]
    made = TinySystem("tiny:test", parts, Decoding(text_temperature=1.5), slots=2, greeting=False)
    first, second = made.open(0), made.open(1)
    silence, speech = np.zeros(FRAME_SIZE, np.float32), tone(FRAME)
    said: list[list[Step]] = [[], []]
    for s in range(40):
        both = made.step_all([first, second], [speech if s == 10 else silence, silence])
        said[0].append(both[0])
        said[1].append(both[1])
    assert made.info.decoding["greeting"] is False
    assert not any(step.text or step.audio.any() for step in said[1])
    assert not any(step.text or step.audio.any() for step in said[0][:11])
    assert any(step.text for step in said[0][11:])
    assert any(step.audio.any() for step in said[0][11:])
    made.close()


def saved(folder: Path, words: tuple[str, ...] = WORDS, config: LMConfig = CONFIG) -> Path:
    save_kyutai(DuplexLM(config, seed=1), folder)
    (folder / "words.json").write_bytes(msgspec.json.encode(words))
    return folder


def test_a_saved_model_says_what_it_said_before(tmp_path: Path) -> None:
    (user,) = users(1)
    made = TinySystem("tiny:x", load_parts(saved(tmp_path), LevelCodec()), slots=4)  # type: ignore[arg-type]
    session = made.open(3)
    same([session.step(frame) for frame in user], alone(user, 3))
    made.close()


def test_a_model_that_does_not_fit_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="11 words for a text vocabulary of 12"):
        load_parts(saved(tmp_path / "a", WORDS[:-1]), LevelCodec())  # type: ignore[arg-type]
    (saved(tmp_path / "b") / "words.json").write_text("{")
    with pytest.raises(InputError, match=r"words\.json cannot be read"):
        load_parts(tmp_path / "b", LevelCodec())  # type: ignore[arg-type]
    other = replace(CONFIG, card=32)
    with pytest.raises(InputError, match="8 codebooks of 32; its codec has 8 of 16"):
        load_parts(saved(tmp_path / "c", config=other), LevelCodec())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cannot be read"):
        load_parts(tmp_path / "nothing", LevelCodec())  # type: ignore[arg-type]

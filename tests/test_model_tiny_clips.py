"""Clips: what was said is what is kept, words lie where they sound, and a library survives its file."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from builders import spoken, tone
from eval.words import Aligner
from model.codec import Mask
from model.tiny.clips import (
    WARP,
    ClipLibrary,
    Sound,
    agent_clip,
    as_heard,
    build,
    encode_many,
    heard_vocabulary,
    plain,
    quiet_frame,
    vocabulary,
    word_times,
)
from model.tiny.faults import NO_FAULTS, plant
from model.tiny.grid import FIRST_WORD
from model.tiny.speech import Said
from model.tiny.talks import write_talk
from model.tiny.world import load_world, replies, split
from model.tiny.world import spoken as spoken_texts
from protocols.duplex import Audio
from protocols.errors import InputError
from protocols.records import Word

WORLD = load_world()


class LevelCodec:
    """Eight times the frame's level in whole dB above -100, plus how many frames this row has pushed (book 8)."""

    source, sample_rate, frame_size, n_codebooks, card, delay_frames = "level/1", 24_000, 1_920, 8, 1024, 0
    silence = np.zeros(8, np.int16)

    def encoder(self, batch: int) -> "LevelStream":
        return LevelStream(batch)

    decoder = None


class LevelStream:
    def __init__(self, batch: int) -> None:
        self._pushed = np.zeros(batch, np.int16)

    def push(self, frames: Audio, active: Mask) -> np.ndarray:
        level = 100 + 10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-10)
        codes = np.repeat(np.rint(level).astype(np.int16)[:, None], 8, axis=1)
        codes[:, 7] = self._pushed
        self._pushed += 1
        return codes


CODEC = LevelCodec()


class Letters:
    """An aligner that gives every word 0.1 s, after 0.2 s."""

    source = "letters/1"

    def times(self, text: str, audio: Audio, sample_rate: int) -> tuple[Word, ...]:
        return tuple(Word(w, 0.2 + 0.1 * i, 0.3 + 0.1 * i) for i, w in enumerate(text.split()))


@cache
def library(variants: int = 1) -> ClipLibrary:
    held = split(WORLD)
    sounds = [Sound(Said(text, WORLD.agent_voice, 1.0), tone(1.2)) for text in replies(WORLD)]
    sounds += [Sound(Said(text, "kokoro/af_sky", 1.0), tone(0.8)) for text in spoken_texts(WORLD, held)]
    return build(sounds, WORLD, held, CODEC, Letters(), variants, seed=0)  # type: ignore[arg-type]


def test_encoding_side_by_side_gives_what_encoding_alone_gives() -> None:
    rng = np.random.default_rng(0)
    audios = [rng.uniform(-1, 1, n).astype(np.float32) for n in rng.integers(1, 40_000, 50)]
    together = encode_many(CODEC, audios)  # type: ignore[arg-type]
    for audio, codes in zip(audios, together, strict=True):
        (alone,) = encode_many(CODEC, [audio])  # type: ignore[arg-type]
        np.testing.assert_array_equal(codes, alone)
        assert codes.shape == (8, -(-len(audio) // 1_920))


def test_a_library_survives_its_file_and_makes_the_same_talks(tmp_path: Path) -> None:
    made = library(2)
    made.save(tmp_path / "clips.npz")
    back = ClipLibrary.load(tmp_path / "clips.npz")
    faults = plant(WORLD, split(WORLD), NO_FAULTS, 0)
    for number in range(5):
        a, b = (write_talk(WORLD, split(WORLD), faults, clips, 150, 0, number) for clips in (made, back))
        np.testing.assert_array_equal(a.codes, b.codes)
        np.testing.assert_array_equal(a.heard, b.heard)
        assert a.moments == b.moments
    assert made.texts == back.texts == frozenset(spoken_texts(WORLD, split(WORLD)))


def test_a_cut_or_strange_file_is_one_clear_error(tmp_path: Path) -> None:
    library().save(tmp_path / "clips.npz")
    data = (tmp_path / "clips.npz").read_bytes()
    for bad in (data[: len(data) // 2], b"", b"something else"):
        (tmp_path / "bad.npz").write_bytes(bad)
        with pytest.raises(InputError, match="not a clip library"):
            ClipLibrary.load(tmp_path / "bad.npz")


def test_what_nobody_says_is_an_error() -> None:
    made = library()
    with pytest.raises(InputError, match="no voice says 'Open the pod bay"):
        made.user("Open the pod bay doors.", np.random.default_rng(0))
    with pytest.raises(InputError, match="does not say"):
        made.agent("Open the pod bay doors.")


def test_every_word_of_every_reply_has_an_id() -> None:
    words = vocabulary(WORLD)
    assert words[:FIRST_WORD] == ("<epad>", "<bos>", "<eos>", "<pad>")
    assert len(set(words)) == len(words)
    assert {plain(w) for text in replies(WORLD) for w in text.split()} == set(words[FIRST_WORD:])


def test_words_lie_in_the_frames_they_start_in() -> None:
    clip = library().agent("Paris is the capital of France.")
    words = vocabulary(WORLD)
    assert [words[p.word] for p in clip.words] == ["paris", "is", "the", "capital", "of", "france"]
    assert [p.frame for p in clip.words] == [0, 1, 2, 3, 5, 6]  # 0, 0.1, 0.2 ... s in frames of 0.08 s


def test_no_reply_is_heard_before_its_first_word_is_decided() -> None:
    """Alignment often finds a first word a frame after its sound; the model then spoke first and thought second."""
    ids = {word: i for i, word in enumerate(vocabulary(WORLD))}
    clip = agent_clip("Paris, I believe.", tone(1.0), CODEC, [0.17, 0.33, 0.5], ids)
    assert [p.frame for p in clip.words] == [0, 4, 6]


def test_a_users_words_lie_in_the_frames_they_end_in() -> None:
    words = heard_vocabulary(WORLD, split(WORLD))
    text = "What is the capital of France?"
    rng = np.random.default_rng(0)
    for _ in range(20):
        clip = library(4).user(text, rng)
        assert [words[p.word] for p in clip.words] == [plain(word) for word in text.split()]
        frames = [p.frame for p in clip.words]
        assert frames == sorted(frames)
        assert frames[-1] < clip.codes.shape[1]
        fastest, slowest = 0.5 * WARP[0] / 100, 0.5 * WARP[1] / 100 + 0.08  # "of" ends 0.5 s in
        assert int(fastest / 0.08) <= frames[4] <= int(slowest / 0.08)


def test_words_that_cannot_be_aligned_are_dated_by_their_letters() -> None:
    class Deaf:
        source = "deaf/1"

        def times(self, text: str, audio: Audio, sample_rate: int) -> None:
            return None

    words = word_times("No, indeed.", tone(0.8), Deaf())
    assert [(w.text, w.start, w.end) for w in words] == [
        ("No,", 0, pytest.approx(0.2)),
        ("indeed.", pytest.approx(0.2), 0.8),
    ]


def test_real_speech_is_aligned_to_within_a_frame_or_two() -> None:
    audio, span = spoken("q01.reply.flac")  # That is the River Thames.
    cut = audio[round(span.start * 24_000) : round(span.end * 24_000)]
    times = Aligner().times("That is the River Thames.", np.pad(cut, 4_800), 24_000)
    assert times is not None
    assert [w.text for w in times] == ["That", "is", "the", "River", "Thames."]
    assert times[0].start == pytest.approx(0.2, abs=0.08)
    assert times[-1].end == pytest.approx(0.2 + span.duration, abs=0.08)


def test_the_same_voice_is_heard_in_different_conditions() -> None:
    audio = tone(1.0)
    rng = np.random.default_rng(0)
    heard = [as_heard(audio, rng) for _ in range(20)]
    levels = [float(np.sqrt(np.mean(h.audio**2))) for h in heard]
    assert max(levels) > 2 * min(levels)
    for sound in heard:
        assert np.isfinite(sound.audio).all()
        assert len(sound.audio) == pytest.approx(len(audio) * sound.stretch + sound.offset * 24_000, abs=2)
        assert WARP[0] / 100 <= sound.stretch <= WARP[1] / 100


def test_a_pause_goes_where_it_is_quiet() -> None:
    audio = np.concatenate([tone(0.8), np.zeros(3_840, np.float32), tone(0.64)])
    assert quiet_frame(audio) in (10, 11)
    assert quiet_frame(tone(0.05)) == 1


def test_channels_without_speech_are_silent_noisy_or_faint() -> None:
    made = library()
    rng = np.random.default_rng(0)
    loudest = [int(made.noise(100, rng)[0].max()) for _ in range(200)]
    assert 0.2 < np.mean([level == 0 for level in loudest]) < 0.6
    assert all(level < 85 for level in loudest)
    assert made.noise(700, rng).shape == (8, 700)

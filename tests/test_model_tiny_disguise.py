"""Voices in disguise: other codes for the same words, moved as another throat would move them."""

import numpy as np
import pytest
from scipy.signal import lfilter

from model.tiny.codec import Floats, load_codec
from model.tiny.disguise import Disguised, disguise, moved
from model.tiny.features import BANDS, PITCH_WEIGHT
from model.tiny.grid import AgentClip, Codes, UserClip
from protocols.duplex import FRAME_SIZE, SAMPLE_RATE, Audio

CODEC = load_codec()


def vowel(pitch: float, formants: tuple[float, ...], frames: int = 12) -> list[Audio]:
    """Frames [1, FRAME_SIZE] of a buzz through resonances."""
    t = np.arange(frames * FRAME_SIZE)
    sound = (np.diff(np.floor(t * pitch / SAMPLE_RATE), prepend=0) > 0).astype(np.float64)
    for hertz in formants:
        angle, radius = 2 * np.pi * hertz / SAMPLE_RATE, 0.985
        sound = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], sound)
    sound = (0.3 * sound / np.abs(sound).max()).astype(np.float32)
    return [np.ascontiguousarray(part) for part in np.split(sound[None], frames, axis=1)]


def coded(sound: list[Audio]) -> Codes:
    stream = CODEC.encoder(1)
    return np.stack([stream.push(frame, np.ones(1, np.bool_))[0] for frame in sound], axis=1)


def heard(sound: list[Audio]) -> Floats:
    """Features [frames, HOPS, BANDS + 1] after the first frames."""
    state = CODEC.features.start(1)
    return np.concatenate([CODEC.features.push(state, frame) for frame in sound])[4:]


@pytest.mark.parametrize("times", [0.87, 1.0, 1.15])
def test_a_moved_voice_is_the_voice_of_another_throat(times: float) -> None:
    formants = (600.0, 1_300.0, 2_500.0)
    said, wanted = heard(vowel(160, formants)), heard(vowel(160 * times, tuple(times * f for f in formants)))
    made = moved(said, float(np.log(times)), float(np.log(times)))
    off, before = (np.abs(x - wanted)[..., :BANDS].mean() for x in (made, said))
    assert off < (1e-3 if times == 1 else 0.45 * before)
    assert np.median(made[..., BANDS]) == pytest.approx(np.median(wanted[..., BANDS]), abs=0.04 * PITCH_WEIGHT)


def test_digital_silence_stays_and_everything_else_changes() -> None:
    said = np.concatenate([np.zeros((8, 3), np.int16), coded(vowel(150, (500.0, 1_500.0)))], axis=1)
    changed = [disguise(said, CODEC.quantiser, np.random.default_rng(n)) for n in (0, 0, 1)]
    assert np.array_equal(changed[0], changed[1])
    assert not np.array_equal(changed[0], changed[2])
    for codes in changed:
        assert codes.shape == said.shape
        assert codes.dtype == np.int16
        assert not codes[:, :3].any()
    drawn = [disguise(said, CODEC.quantiser, np.random.default_rng(n)) for n in range(8)]
    assert np.mean([(codes != said)[:, 3:] for codes in drawn]) > 0.5


def test_only_users_are_disguised_and_not_all_of_them() -> None:
    said = UserClip(coded(vowel(150, (500.0, 1_500.0))), 4)

    class Clips:
        silence = np.zeros((8, 1), np.int16)
        replies = ("Yes.",)

        def user(self, text: str, rng: np.random.Generator) -> UserClip:
            return said

        def agent(self, text: str) -> AgentClip:
            return AgentClip(said.codes, ())

        def noise(self, n_frames: int, rng: np.random.Generator) -> Codes:
            return said.codes[:, :n_frames]

    clips = Disguised(Clips(), CODEC.quantiser)
    rng = np.random.default_rng(0)
    uttered = [clips.user("yes", rng) for _ in range(60)]
    same = np.mean([np.array_equal(clip.codes, said.codes) for clip in uttered])
    assert 0.2 < same < 0.6
    assert {(clip.quiet, clip.words) for clip in uttered} == {(4, ())}
    assert np.array_equal(clips.agent("Yes.").codes, said.codes)
    assert np.array_equal(clips.noise(5, rng), said.codes[:, :5])
    assert (clips.replies, clips.silence.any()) == (("Yes.",), False)

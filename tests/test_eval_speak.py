"""Text to speech: what is asked for is what sounds, and what cannot be spoken is one clear error."""

from pathlib import Path

import numpy as np
import pytest

from eval.activity import SileroActivity
from eval.speak import ESPEAK_VOICES, EspeakSpeaker, KokoroSpeaker, blend, phonemes, sound_edges
from eval.words import load_transcriber
from protocols.errors import InputError


@pytest.mark.needs("espeak")
def test_espeak_says_the_same_thing_the_same_way_in_every_voice() -> None:
    speaker = EspeakSpeaker()
    assert speaker.source.startswith("espeak-ng/")
    said = [speaker.say("The weather is fine today.", voice) for voice in ESPEAK_VOICES]
    assert all(1.0 < len(audio) / 24_000 < 4.0 for audio in said)
    assert len({audio.tobytes() for audio in said}) == len(ESPEAK_VOICES)
    np.testing.assert_array_equal(said[0], speaker.say("The weather is fine today.", ESPEAK_VOICES[0]))


@pytest.mark.needs("espeak")
def test_speech_starts_and_ends_with_the_sound_and_slows_down() -> None:
    speaker = EspeakSpeaker()
    audio = speaker.say("Good morning.")
    assert sound_edges(audio, -60) == (0, len(audio))
    assert len(speaker.say("Good morning.", speed=0.6)) > 1.3 * len(audio)


@pytest.mark.needs("espeak")
@pytest.mark.needs("whisper")
def test_espeak_is_understood_in_a_plain_sentence() -> None:
    audio = np.pad(EspeakSpeaker().say("Paris is the capital of France.", speed=0.85), 24_000)
    transcriber = load_transcriber("auto")
    assert transcriber is not None
    words = transcriber.words(audio, 24_000, SileroActivity().spans(audio, 24_000))
    assert "Paris" in " ".join(word.text for word in words)


@pytest.mark.needs("espeak")
@pytest.mark.parametrize(
    ("text", "voice", "speed", "says"),
    [
        ("", None, 1.0, "can be spoken"),
        ("?!", None, 1.0, "can be spoken"),
        ("hello", "en-uss", 1.0, "did you mean 'en-us'"),
        ("hello", None, 9.0, "outside 0.5 to 2"),
    ],
)
def test_what_cannot_be_spoken_is_said(text: str, voice: str | None, speed: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        EspeakSpeaker().say(text, voice, speed)


@pytest.mark.needs("espeak")
def test_phonemes_keep_punctuation_and_numbers() -> None:
    assert phonemes("Hello, world!").count(",") == 1
    assert phonemes("Hello, world!").endswith("!")
    stress = "\u02c8"
    assert phonemes("3.5").replace(stress, "") == phonemes("three point five").replace(stress, "")


def test_without_the_program_there_is_a_way_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt-get install espeak-ng"):
        EspeakSpeaker()


@pytest.mark.needs("espeak")
def test_kokoro_without_its_voices_or_weights_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kokoro-js"):
        KokoroSpeaker(tmp_path)
    (tmp_path / "af_heart.bin").write_bytes(b"")
    with pytest.raises(InputError, match="train-tiny"):
        KokoroSpeaker(tmp_path, ("no_such_package",))


def test_silence_has_no_edges() -> None:
    assert sound_edges(np.zeros(1000, np.float32), -40) == (0, 0)


def test_a_blend_names_its_voices_and_their_shares() -> None:
    assert blend("af_bella") == {"af_bella": 1}
    assert blend("af_bella:60+am_liam:20") == pytest.approx({"af_bella": 0.75, "am_liam": 0.25})
    for bad in ("af_bella:60+am_liam", "af_bella:x", "af_bella:60+am_liam:0"):
        with pytest.raises(InputError, match="blend"):
            blend(bad)

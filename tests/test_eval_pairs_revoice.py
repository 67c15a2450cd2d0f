"""Users who keep their words and their times and lose their voice."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from msgspec import structs
from test_eval_pairs_dataset import Humming

from builders import spoken
from eval.activity import SileroActivity
from eval.metrics.base import Heard
from eval.pairs.build import Workshop, build
from eval.pairs.chosen import Parts
from eval.pairs.dataset import Dataset, finish
from eval.pairs.folder import FolderTalks
from eval.pairs.mix import mix
from eval.pairs.revoice import Revoiced, breaths, said_at
from eval.pairs.settings import PairSettings
from eval.pairs.source import Name
from eval.pairs.talks import Exclusion, RawTalk
from eval.speak import EspeakSpeaker
from eval.warp import warped
from eval.words import Aligner
from protocols.duplex import SAMPLE_RATE
from protocols.errors import InputError
from protocols.records import Word
from protocols.replies import NO_GRID, GridLayout

QUESTION, SPEECH = spoken("q01.flac")
REPLY, REPLY_SPEECH = spoken("q01.reply.flac")
TEXT = "Which river runs through the middle of London"
TOLERANCE = 0.12  # seconds a word's beginning may lie off, the aligner's own error included
SETTINGS = PairSettings()


class Beeps:
    """A speaker that can be read: each word sounds 0.2 s at a pitch of its own, in its own voice's loudness."""

    source = "beeps/1"
    voices = ("a", "b")

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> np.ndarray:
        if "%" in text:
            raise InputError("nothing in '%' can be spoken")
        t = np.arange(round(0.2 * SAMPLE_RATE)) / SAMPLE_RATE
        return np.concatenate([0.3 * np.sin(2 * np.pi * pitch(w) * t) for w in text.split()]).astype(np.float32)


class Known:
    """Finds what `Beeps` says, as it knows how."""

    def times(self, text: str, audio: np.ndarray, sample_rate: int) -> tuple[Word, ...] | None:
        return tuple(Word(w, 0.2 * i, 0.2 * i + 0.2) for i, w in enumerate(text.split()))


def pitch(word: str) -> float:
    return 200.0 + 100 * (len(word) % 6)


def heard_pitch(audio: np.ndarray, start: float, end: float) -> float:
    part = audio[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 48_000))
    return float(np.argmax(spectrum)) / 2


def test_moments_of_a_sound_fall_where_they_should_and_pitch_stays() -> None:
    both = Beeps().say("a four")
    moved = warped(both, [(0, 0), (0.2, 0.5), (0.4, 0.6)])
    assert len(moved) == round(0.6 * SAMPLE_RATE)
    assert heard_pitch(moved, 0.05, 0.45) == pytest.approx(pitch("a"), abs=8)
    assert heard_pitch(moved, 0.51, 0.59) == pytest.approx(pitch("four"), abs=12)
    same = warped(both, [(0, 0), (0.4, 0.4)])
    np.testing.assert_allclose(same, both, atol=0.02)


def test_each_word_is_said_at_its_time_and_between_them_is_silence() -> None:
    words = [Word("a", 0.5, 0.8), Word("bb", 0.8, 1.0), Word("ccc", 2.0, 2.4)]
    audio = said_at(words, 3.0, Beeps(), "a", Known())
    assert len(audio) == 3 * SAMPLE_RATE
    for word in words:
        assert heard_pitch(audio, word.start + 0.03, word.end - 0.03) == pytest.approx(pitch(word.text), abs=12)
    for start, end in ((0, 0.5), (1.0, 2.0), (2.4, 3.0)):
        assert not audio[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)].any()


def test_words_over_each_other_are_said_one_after_the_other() -> None:
    (run,) = breaths([Word("a", 1.0, 1.5), Word("b", 1.4, 1.4), Word("c", 1.5, 2.0)])
    assert [(w.start, w.end) for w in run] == [(1.0, 1.5), (1.5, pytest.approx(1.56)), (pytest.approx(1.56), 2.0)]


@pytest.mark.needs("espeak")
def test_a_real_voice_says_a_question_word_by_word_when_it_was_asked() -> None:
    """Found again by forced alignment, every word begins within the tolerance of where it began."""
    aligner = Aligner()
    words = aligner.times(TEXT, QUESTION, SAMPLE_RATE)
    assert words is not None
    new = said_at(words, len(QUESTION) / SAMPLE_RATE, EspeakSpeaker(), "en-us", aligner)
    again = aligner.times(TEXT, new, SAMPLE_RATE)
    assert again is not None
    assert max(abs(a.start - b.start) for a, b in zip(words, again, strict=True)) < TOLERANCE


def recordings(folder: Path, words: str) -> None:
    """q01 and a late reply, as ID.wav with alignments."""
    n = len(QUESTION) + 6 * SAMPLE_RATE
    both = np.zeros((n, 2), np.float32)
    both[: len(QUESTION), 1] = QUESTION
    at = len(QUESTION) + 2 * SAMPLE_RATE
    both[at : at + len(REPLY), 0] = REPLY[: n - at]
    soundfile.write(folder / "t.wav", both, SAMPLE_RATE)
    (folder / "t.json").write_text(words)


def aligned() -> str:
    parts = [f'["{w}", [{SPEECH.start + 0.3 * i:.2f}, {SPEECH.start + 0.3 * i + 0.3:.2f}], "SPEAKER_USER"]'
             for i, w in enumerate(TEXT.split())]  # fmt: skip
    late = len(QUESTION) / SAMPLE_RATE + 2 + REPLY_SPEECH.start
    return f'{{"alignments": [{", ".join(parts)}, ["thames", [{late}, {late + 1}], "SPEAKER_MAIN"]]}}'


def revoiced(folder: Path, layout: GridLayout = NO_GRID) -> Revoiced:
    talks = FolderTalks(folder, SileroActivity(), None, SETTINGS)
    return Revoiced(talks, Beeps(), Known(), layout, None)


def test_no_sound_of_the_user_enters_a_dataset(tmp_path: Path) -> None:
    """The agent is kept to the sample, the user is the voice's; nothing in the folder names or holds the original."""
    (tmp_path / "talks").mkdir()
    recordings(tmp_path / "talks", aligned())
    source = revoiced(tmp_path / "talks")
    finish(tmp_path / "d", build(lambda: Workshop(source, Parts(NO_GRID, voice=Humming()), SETTINGS), tmp_path / "d"))
    made = Dataset(tmp_path / "d")
    assert made.verify() == []
    ((talk, pair),) = made.with_talks()
    assert talk.sound is not None
    assert talk.sound.startswith("sounds/")
    assert all(cut.path == talk.sound for cut in pair.rejected_sound)
    new, _ = soundfile.read(made.path / talk.sound, dtype="float32")
    old, _ = soundfile.read(tmp_path / "talks" / "t.wav", dtype="float32")
    np.testing.assert_array_equal(new[:, 0], old[:, 0])
    assert heard_pitch(new[:, 1], SPEECH.start + 0.05, SPEECH.start + 0.25) == pytest.approx(pitch("Which"), abs=12)
    told = b"".join(p.read_bytes() for p in made.path.rglob("*") if p.is_file())
    assert str(tmp_path / "talks").encode() not in told
    assert hashlib.sha256((tmp_path / "talks" / "t.wav").read_bytes()).hexdigest().encode() not in told
    mix(made, tmp_path / "m", {"silent": 0} if talk.split == "validation" else {"silent": 1})
    assert Dataset(tmp_path / "m").verify() == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [("{}", "no_words"), (aligned().replace("river", "%"), "not_revoiced")],
)
def test_a_user_who_cannot_be_said_anew_is_left_out_and_never_kept(tmp_path: Path, words: str, reason: str) -> None:
    recordings(tmp_path, words)
    source = revoiced(tmp_path)
    (found,) = [source.read(name) for name in source.names()]
    assert isinstance(found, Exclusion)
    assert found.reason == reason


def test_a_stimulus_whose_text_is_known_is_dated_by_its_own_sound(tmp_path: Path) -> None:
    """Nobody wrote words down, but the sample says what was asked: each word is said where it was."""
    recordings(tmp_path, aligned())
    talks = FolderTalks(tmp_path, SileroActivity(), None, SETTINGS)
    (raw,) = [talks.read(name) for name in talks.names()]
    assert isinstance(raw, RawTalk)
    sample, talk, *rest = raw.heard
    (turn,) = talk.events
    bare = structs.replace(talk, events=(structs.replace(turn, label=""),))
    texts = {"written": TEXT, "unknown": ""}
    known = {
        name: raw._replace(heard=Heard(structs.replace(sample, text=text), bare, *rest), user_words=())
        for name, text in texts.items()
    }

    class Run:
        source = "run"
        names = talks.names

        def read(self, name: Name) -> RawTalk:
            return known[name.id]

    source = Revoiced(Run(), Beeps(), Aligner(), NO_GRID, None)
    made = source.read(Name("written", "", None))
    assert isinstance(made, RawTalk)
    expected = Aligner().times(TEXT, QUESTION, SAMPLE_RATE)
    assert expected is not None
    assert [w.text for w in made.user_words] == [w.text for w in expected]
    assert max(abs(a.start - b.start) for a, b in zip(made.user_words, expected, strict=True)) < TOLERANCE
    left = source.read(Name("unknown", "", None))
    assert isinstance(left, Exclusion)
    assert left.reason == "no_words"


def test_the_users_rows_are_those_of_the_new_sound_and_the_agents_stay(tmp_path: Path) -> None:
    recordings(tmp_path, aligned())
    layout = GridLayout(5, 0, slice(1, 3), slice(3, 5), 3, (0, 0), (0, 0), agent_lag=3, user_lag=1)
    talks = FolderTalks(tmp_path, SileroActivity(), None, SETTINGS)
    (raw,) = [talks.read(name) for name in talks.names()]
    assert isinstance(raw, RawTalk)
    tokens = np.full((5, 40), 7, np.int16)

    class One:
        source = "one"
        names = talks.names

        def read(self, name: object) -> RawTalk:
            return raw._replace(tokens=tokens)

    found = Revoiced(One(), Beeps(), Known(), layout, loud).read(next(talks.names()))  # type: ignore[arg-type]
    assert isinstance(found, RawTalk)
    assert found.tokens is not None
    np.testing.assert_array_equal(found.tokens[:3], tokens[:3])
    over = SPEECH.start + 0.3 * len(TEXT.split())
    last = int(np.flatnonzero(found.tokens[3])[-1])
    assert last == int(over / 0.08) - 1  # column c holds what the user says in frame c + 1


def loud(user: np.ndarray) -> np.ndarray:
    """Two rows of codes: 1 where a frame can be heard."""
    frames = user[: len(user) // 1920 * 1920].reshape(-1, 1920)
    return np.tile((np.abs(frames).max(axis=1) > 0.1).astype(np.int16), (2, 1))

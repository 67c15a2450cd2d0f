import itertools

import numpy as np
import pytest
import soundfile

from benchmarks.activity import FITTED
from benchmarks.scenes import Scene, clips, cut, errors, scene
from builders import DATA, spoken, talk, tone
from eval.activity import SileroActivity
from eval.listen import guards, hear, length_guard
from eval.words import (
    Aligner,
    SphinxTranscriber,
    Timed,
    WhisperTranscriber,
    load_transcriber,
    offline_model,
    place,
    regions,
)
from protocols.duplex import SAMPLE_RATE
from protocols.errors import InputError
from protocols.records import Conversation, Event, Recording, Word
from protocols.timeline import Span, is_track, utterances


@pytest.fixture(scope="module")
def detector() -> SileroActivity:
    return SileroActivity()


def scenes(snr: float | None, n: int = 3) -> list[Scene]:
    rng = np.random.default_rng(11)
    pool = clips()
    return [scene(pool, rng, snr_db=snr) for _ in range(n)]


def test_edges_on_a_clean_channel_are_within_60_ms(detector: SileroActivity) -> None:
    found = [errors(detector.spans(s.audio, SAMPLE_RATE), s.speech) for s in scenes(None)]
    onset, offset = (np.abs(np.concatenate([getattr(e, k) for e in found])) for k in ("onset", "offset"))
    assert sum(e.missed + e.false for e in found) == 0
    assert np.percentile(onset, 50) <= 20
    assert np.percentile(onset, 90) <= 60
    assert np.percentile(offset, 50) <= 20
    assert np.percentile(offset, 90) <= 60


def test_noise_makes_no_speech_and_hides_none(detector: SileroActivity) -> None:
    found = [errors(detector.spans(s.audio, SAMPLE_RATE), s.speech) for s in scenes(20)]
    onset = np.abs(np.concatenate([e.onset for e in found]))
    assert sum(e.missed + e.false for e in found) == 0
    assert np.percentile(onset, 90) <= 60


@pytest.mark.parametrize("snr", [20, 10])
def test_ends_that_can_be_heard_are_found_in_noise(detector: SileroActivity, snr: float) -> None:
    """Voices on which nothing was fitted, cut where they can still be heard."""
    rng = np.random.default_rng(0)
    pool = [cut(c) for c in clips() if c.voice not in FITTED]
    found = [errors(utterances(detector.spans(s.audio, SAMPLE_RATE)), s.speech)
             for s in (scene(pool, rng, snr_db=snr) for _ in range(3))]  # fmt: skip
    onset, offset = (np.abs(np.concatenate([getattr(e, k) for e in found])) for k in ("onset", "offset"))
    assert sum(e.missed + e.false for e in found) == 0
    assert np.percentile(onset, 90) <= 70
    assert np.percentile(offset, 90) <= 70


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(48_000, np.float32),
        np.zeros(0, np.float32),
        np.full(10, 0.5, np.float32),
        (0.01 * np.random.default_rng(0).standard_normal(48_000)).astype(np.float32),
    ],
    ids=["silence", "nothing", "ten samples", "noise"],
)
def test_what_is_no_speech_has_no_spans(detector: SileroActivity, audio: np.ndarray) -> None:
    assert detector.spans(audio, SAMPLE_RATE) == ()


def test_speech_moves_with_the_clock_and_stays_on_its_track(detector: SileroActivity) -> None:
    audio, span = spoken("q01.flac")
    early = detector.spans(np.pad(audio, (24_000, 24_000)), SAMPLE_RATE)
    late = detector.spans(np.pad(audio, (24_000 + 19_200, 24_000)), SAMPLE_RATE)  # 0.8 s: a whole number of windows
    assert is_track(early)
    assert early[0].start == pytest.approx(1 + span.start, abs=0.03)
    assert [round(b.start - a.start, 3) for a, b in zip(early, late, strict=True)] == [0.8] * len(early)


def test_the_sample_rate_does_not_matter(detector: SileroActivity) -> None:
    audio, _ = spoken("q02.flac")
    padded = np.pad(audio, (24_000, 24_000))
    from protocols.audio import resample

    a = detector.spans(padded, 24_000)
    b = detector.spans(resample(padded, 24_000, 48_000), 48_000)
    assert a[0].start == pytest.approx(b[0].start, abs=0.011)
    assert a[-1].end == pytest.approx(b[-1].end, abs=0.011)


# --- words -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whisper() -> WhisperTranscriber:
    model = offline_model()
    assert model is not None
    return WhisperTranscriber(str(model), "tiny.en")


def test_regions_hold_speech_with_silence_around_it_and_never_their_neighbours_words() -> None:
    audio = np.zeros(240_000, np.float32)
    made = regions(audio, SAMPLE_RATE, (Span(1.0, 2.0), Span(2.5, 3.0), Span(6.0, 7.0)))
    assert [r.speech for r in made] == [Span(1.0, 3.0), Span(6.0, 7.0)]
    assert made[0].start == pytest.approx(0.8)
    assert len(made[0].audio) == round(2.4 * 16_000)


def test_words_never_leave_the_speech_they_were_heard_in() -> None:
    region = regions(np.zeros(240_000, np.float32), SAMPLE_RATE, (Span(1.0, 2.0),))[0]
    words = place([Timed("so", -0.5, 0.1), Timed("it", 0.4, 0.3), Timed("goes", 0.9, 9.0)], region)
    assert (words[0].start, words[-1].end) == (1.0, 2.0)
    assert all(a.end <= b.start for a, b in itertools.pairwise(words))


@pytest.mark.needs("whisper")
def test_word_edges_do_not_slide_over_leading_silence(whisper: WhisperTranscriber, detector: SileroActivity) -> None:
    """Whisper alone starts the first word up to a second early; ours must start and end with the speech."""
    starts, ends = [], []
    for n in range(1, 25):
        audio, span = spoken(f"q{n:02d}.reply.flac")
        padded = np.pad(audio, (36_000, 36_000))
        words = whisper.words(padded, SAMPLE_RATE, detector.spans(padded, SAMPLE_RATE))
        starts.append(abs(words[0].start - 1.5 - span.start))
        ends.append(abs(words[-1].end - 1.5 - span.end))
    assert np.percentile(starts, 90) <= 0.06
    assert np.percentile(ends, 90) <= 0.06


@pytest.mark.needs("whisper")
def test_whisper_hears_what_was_said_and_nothing_in_silence(
    whisper: WhisperTranscriber, detector: SileroActivity
) -> None:
    audio, _ = spoken("q01.reply.flac")
    padded = np.pad(audio, (24_000, 24_000))
    words = whisper.words(padded, SAMPLE_RATE, detector.spans(padded, SAMPLE_RATE))
    assert "Thames" in " ".join(w.text for w in words)
    silence = np.zeros(72_000, np.float32)
    assert whisper.words(silence, SAMPLE_RATE, detector.spans(silence, SAMPLE_RATE)) == ()


def test_alignment_dates_words_and_gives_up_on_what_it_does_not_know() -> None:
    aligner = Aligner()
    audio, span = spoken("q01.reply.flac")
    from protocols.audio import resample

    heard = resample(np.pad(audio, (12_000, 12_000)), SAMPLE_RATE, 16_000)
    timed = aligner.align(["That", "is", "the", "River", "Thames."], heard)
    assert timed is not None
    assert timed[0].start == pytest.approx(0.5 + span.start, abs=0.08)
    assert timed[-1].end == pytest.approx(0.5 + span.end, abs=0.08)
    assert aligner.align(["xqzzy"], heard) is None
    assert aligner.align(["1666"], heard) is None
    assert aligner.align([], heard) in (None, [])


def test_pocketsphinx_alone_writes_words_inside_the_speech(detector: SileroActivity) -> None:
    audio, _ = spoken("q02.reply.flac")
    padded = np.pad(audio, (24_000, 24_000))
    speech = detector.spans(padded, SAMPLE_RATE)
    words = SphinxTranscriber().words(padded, SAMPLE_RATE, speech)
    assert words
    assert words[0].start == speech[0].start
    assert words[-1].end == speech[-1].end


def test_an_unknown_transcriber_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'pocketsphinx'"):
        load_transcriber("pocketsphinxs")
    assert load_transcriber("none") is None


@pytest.mark.needs("whisper")
def test_a_whisper_folder_that_holds_no_model_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(InputError, match="cannot load the Whisper model"):
        load_transcriber(f"whisper:{tmp_path_factory.mktemp('empty')}")


@pytest.mark.needs("whisper")
def test_a_changed_offline_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.words.OFFLINE_SHA256", "0" * 64)
    with pytest.raises(InputError, match="not the file that was pinned"):
        offline_model()


# --- the stage -------------------------------------------------------------------------------------------------

TURN = (Event("turn", 1.0, 2.0, "made"),)


@pytest.mark.parametrize(
    ("agent", "user", "found"),
    [
        ([(3.0, 4.0)], [(1.0, 2.0)], ()),
        ([], [(1.0, 2.0)], ("agent_silent",)),
        ([(3.0, 4.0)], [], ("user_silent",)),
        ([(1.0, 2.0)], [(3.0, 4.0)], ("swapped",)),
        ([(1.0, 2.0)], [], ("swapped",)),
        ([(3.0, 4.0)], [(2.2, 3.2)], ("misplaced",)),  # the events lie a second off
        ([(3.0, 4.0)], [(1.5, 3.0)], ()),  # played at 24 kHz what was made at 16 kHz: still half where it should be
        ([], [(2.2, 3.2)], ("agent_silent", "misplaced")),
        ([(1.0, 2.0)], [(1.0, 2.0)], ()),  # the agent talks over the user: bad, but not broken
    ],
)
def test_a_broken_recording_is_named(agent: list, user: list, found: tuple[str, ...]) -> None:
    audio = np.zeros((2, 24_000), np.float32)
    assert guards(audio, 24_000, tuple(Span(*s) for s in agent), tuple(Span(*s) for s in user), TURN) == found


def test_clipping_is_named() -> None:
    audio = np.stack([np.clip(tone(1, level=3.0), -1, 1), tone(1)])
    assert guards(audio, 24_000, (Span(0, 1),), (Span(0, 1),), ()) == ("clipped",)
    assert guards(audio[::-1] / 2, 24_000, (Span(0, 1),), (Span(0, 1),), ()) == ()
    quiet = np.pad(audio, ((0, 0), (0, 24_000 * 60)))
    assert guards(quiet, 24_000, (Span(0, 1),), (Span(0, 1),), ()) == ("clipped",)  # silence does not dilute it


@pytest.mark.parametrize(
    ("agent", "user", "found"),
    [
        (10.0, 10.0, None),
        (9.2, 10.0, None),
        (18.0, 10.0, None),  # it goes on speaking
        (7.0, 10.0, "wrong_length"),
        (0.0, 10.0, "wrong_length"),
        (15.0, 10.0, "wrong_rate"),  # 24 kHz read as 16 kHz
        (10.0 * 16 / 24, 10.0, "wrong_rate"),
        (20.0, 10.0, "wrong_rate"),
        (1.5, 1.0, None),  # half a second says nothing
    ],
)
def test_lengths_that_cannot_be_are_named(agent: float, user: float, found: str | None) -> None:
    assert length_guard(round(agent * 24_000), round(user * 24_000)) == found


def test_hearing_keeps_the_channels_apart(detector: SileroActivity) -> None:
    user, _ = spoken("q01.flac")
    agent, _ = spoken("q01.reply.flac")
    audio = np.zeros((2, 24_000 * 8), np.float32)
    audio[1, 24_000 : 24_000 + len(user)] = user
    audio[0, 24_000 * 5 : 24_000 * 5 + len(agent)] = agent
    conversation = Conversation("s", 0, "x", 0, Recording("a", SAMPLE_RATE, audio.shape[1], ""))
    heard = hear(conversation, audio, SAMPLE_RATE, detector, None)
    spans = {a.channel: a.spans for a in heard.activity}
    assert 5 < spans["agent"][0].start < 5.2
    assert 1 < spans["user"][0].start < 1.2
    assert all(a.source == detector.source for a in heard.activity)


@pytest.mark.needs("data")
def test_real_recordings_hold_speech_from_near_their_start(detector: SileroActivity) -> None:
    for n in range(1, 31):
        audio, rate = soundfile.read(DATA / "llama-questions" / "wav" / f"{n}.wav", dtype="float32")
        spans = utterances(detector.spans(audio, rate), 1.0)
        assert len(spans) == 1, n
        assert spans[0].duration > 0.5 * len(audio) / rate


def test_words_are_built_as_talks_say(detector: SileroActivity) -> None:
    assert talk("agent: hi[1-2]").talk.transcripts[0].words == (Word("hi", 1.0, 2.0),)

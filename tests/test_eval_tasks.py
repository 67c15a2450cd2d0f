"""Suites, question tables and folders: right input gives exact samples, any other input one clear error."""

import contextlib
import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import DATA, SPOKEN, tone
from eval.activity import SileroActivity
from eval.tasks.check import check
from eval.tasks.folder import read_folder
from eval.tasks.questions import read_questions
from eval.tasks.spoken import make
from eval.tasks.suite import load_suite, shipped_suites
from eval.tasks.user import render
from model.tiny.world import load_world
from protocols.audio import read_channel, read_sound
from protocols.duplex import Audio
from protocols.errors import InputError
from protocols.timeline import Span, Track, total, track

HEADER = "Questions\tAnswer\tWav Filename\n"


class Loud:
    """A detector that calls everything loud speech: tones are speech in these tests."""

    source = "loud/1"

    def spans(self, audio: Audio, sample_rate: int) -> Track:
        loud = np.flatnonzero(np.abs(audio) > 0.01)
        return track([(loud[0] / sample_rate, (loud[-1] + 1) / sample_rate)]) if loud.size else ()


def questions(folder: Path, rows: str = "Who?\tMe\ta.wav\n", header: str = HEADER) -> Path:
    soundfile.write(folder / "a.wav", np.pad(tone(1.0), 2400), 24_000)
    (folder / "questions.tsv").write_text(header + rows, encoding="utf-8")
    return folder


def test_a_table_is_read_with_speech_found_and_answers_split(tmp_path: Path) -> None:
    (question,), notes = read_questions(questions(tmp_path, "Who?\tMe | I\ta.wav\n"), Loud())
    assert question.answers == ("Me", "I")
    assert question.speech.start == pytest.approx(0.1, abs=0.002)
    assert question.speech.end == pytest.approx(1.1, abs=0.002)
    assert question.speech_source == "loud/1"
    assert notes == []


def test_other_rates_are_converted_and_that_is_said(tmp_path: Path) -> None:
    questions(tmp_path)
    soundfile.write(tmp_path / "a.wav", tone(1.0, rate=16_000), 16_000)
    (question,), notes = read_questions(tmp_path, Loud())
    assert question.duration == pytest.approx(1.0)
    assert notes == ["1 recordings converted from 16000 Hz to 24000 Hz"]


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        ("Who?\tMe\ta.wav\n", "Question\tSound\n", "lacks the column.s. Answer, Wav Filename"),
        ("Who?\tMe\tb.wav\n", HEADER, "line 2: no sound file 'b.wav'"),
        ("Who?\tMe\ta.wav\nWhat?\tIt\ta.wav\n", HEADER, "line 3: the id 'a' was used in line 2"),
        ("Who?\t\ta.wav\n", HEADER, "line 2: the answer is empty"),
        ("Who?\tMe\n", HEADER, "line 2: 2 of 3 columns"),
        ("", HEADER, "holds no questions"),
        ("Who?\tMe\ta.wav\tx\t1\n", HEADER.strip() + "\tSpeech start\tSpeech end\n", "not a time in seconds"),
        ("Who?\tMe\ta.wav\t0.5\t9\n", HEADER.strip() + "\tSpeech start\tSpeech end\n", "does not lie in a.wav"),
    ],
)
def test_a_bad_table_says_where(tmp_path: Path, rows: str, header: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_questions(questions(tmp_path, rows, header), Loud())


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_bytes_as_a_table_are_questions_or_one_clear_error(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / os.urandom(6).hex()
    folder.mkdir()
    questions(folder)
    for content in (data, HEADER.encode() + data):
        (folder / "questions.tsv").write_bytes(content)
        with contextlib.suppress(InputError):
            read_questions(folder, Loud())


SOUNDS = {
    "missing": None,
    "empty file": b"",
    "text": b"this is no sound" * 20,
    "cut header": b"RIFF\x24\x00\x00\x00WAVEfmt ",
}


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_file_that_is_no_sound_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.wav"
    data = SOUNDS[kind]
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.wav"):
        read_sound(path)


def test_no_audio_nan_and_the_wrong_number_of_channels_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0, np.float32), 24_000)
    with pytest.raises(InputError, match="holds no audio"):
        read_sound(path)
    soundfile.write(path, np.array([0.0, np.nan, 0.1], np.float32), 24_000, subtype="FLOAT")
    with pytest.raises(InputError, match="NaN"):
        read_sound(path)
    soundfile.write(path, np.zeros((100, 2), np.float32), 24_000)
    with pytest.raises(InputError, match="2 channels where one is needed"):
        read_channel(path)
    soundfile.write(path, np.zeros(100, np.float32), 24_000)
    with pytest.raises(InputError, match="left agent, right user"):
        read_channel(path, 1)


@given(st.binary(max_size=400), st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_bytes_as_sound_are_sound_or_one_clear_error(tmp_path: Path, data: bytes, magic: bytes) -> None:
    path = tmp_path / "fuzz.wav"
    path.write_bytes(magic + data)
    with contextlib.suppress(InputError):
        assert read_sound(path).samples.size


# --- suites ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector() -> SileroActivity:
    return SileroActivity()


def test_the_quick_suite_needs_nothing_and_is_always_the_same(detector: SileroActivity) -> None:
    suite = load_suite("quick", detector)
    assert [task.name for task in suite.tasks] == ["answer", "pause"]
    assert len(suite.samples) == 96
    assert suite.sha256 == load_suite("quick", detector).sha256
    assert suite.sha256 != load_suite("quick", detector, limit=47).sha256
    assert all(event.source in ("given", "made") for sample in suite.samples for event in sample.events)


def test_the_same_question_is_one_cluster(detector: SileroActivity) -> None:
    clusters = [{s.cluster for s in task.samples} for task in load_suite("quick", detector).tasks]
    assert clusters[0] == clusters[1]
    assert len(clusters[0]) == 48


def test_a_pause_is_silent_exact_and_loses_no_speech(detector: SileroActivity) -> None:
    suite = load_suite("quick", detector)
    plain, paused = (task.samples for task in suite.tasks)
    for before, after in zip(plain, paused, strict=True):
        a, b = render(before, suite.root), render(after, suite.root)
        turn, pause = after.events
        assert pause.end - pause.start == pytest.approx(1.0)
        assert turn.end == pytest.approx(before.events[0].end + 1.0)
        assert turn.start < pause.start < pause.end < turn.end
        assert not b[round(pause.start * 24_000) : round(pause.end * 24_000)].any()
        assert np.sum(b**2) == pytest.approx(np.sum(a**2), rel=0.02)


def test_the_detector_agrees_with_the_exact_edges_of_the_spoken_set(detector: SileroActivity) -> None:
    suite = load_suite("quick", detector)
    off = []
    for sample in suite.tasks[0].samples:
        padded = np.pad(render(sample, suite.root), (24_000, 24_000))
        spans = detector.spans(padded, 24_000)
        off.append(max(abs(spans[0].start - 1 - sample.events[0].start), abs(spans[-1].end - 1 - sample.events[0].end)))
    assert np.percentile(off, 90) < 0.06


def test_unknown_suites_offer_the_nearest(detector: SileroActivity) -> None:
    with pytest.raises(InputError, match="did you mean 'quick'"):
        load_suite("quik", detector)
    with pytest.raises(InputError, match="no folder of questions"):
        load_suite("questions:/nowhere", detector)
    with pytest.raises(InputError, match="no folder of recordings"):
        load_suite("folder:/nowhere", detector)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: x\nversion: '1'\nquestion: .\ntasks: []", "did you mean 'questions'"),
        ("name: x\nversion: '1'\nquestions: .\ntasks: [{name: a}]", "metrics"),
        ("name: [", "is not YAML"),
        ("- 1", "Expected `object`"),
        ("", "Expected `object`"),
    ],
)
def test_a_bad_suite_file_says_what_is_wrong(tmp_path: Path, detector: SileroActivity, text: str, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        load_suite(str(path), detector)


def test_a_suite_of_ones_own(tmp_path: Path, detector: SileroActivity) -> None:
    text = shipped_suites()["quick"].read_text().replace("../spoken", str(SPOKEN)).replace("pause: 1.0", "pause: 2.5")
    (tmp_path / "slow.yaml").write_text(text)
    suite = load_suite(str(tmp_path / "slow.yaml"), detector, limit=2)
    assert suite.tasks[1].samples[0].events[1].end - suite.tasks[1].samples[0].events[1].start == pytest.approx(2.5)


@pytest.mark.needs("data")
def test_llama_questions_are_read_as_they_come(detector: SileroActivity) -> None:
    suite = load_suite(f"questions:{DATA / 'llama-questions'}", detector)
    assert len(suite.samples) == 240
    assert suite.notes == ("120 recordings converted from 16000 Hz to 24000 Hz",)
    assert suite.tasks[0].samples[0].answers == ("Paris",)


# --- folders of recordings -------------------------------------------------------------------------------------


def stereo(path: Path, agent: list[tuple[float, float]], user: list[tuple[float, float]], seconds: float = 6) -> None:
    audio = np.zeros((round(seconds * 24_000), 2), np.float32)
    for channel, spans in enumerate((agent, user)):
        for start, end in spans:
            audio[round(start * 24_000) : round(start * 24_000) + len(tone(end - start)), channel] = tone(end - start)
    soundfile.write(path, audio, 24_000)


def test_a_stereo_folder_gives_its_users(tmp_path: Path) -> None:
    stereo(tmp_path / "one.wav", [(3, 4)], [(1, 2)])
    soundfile.write(tmp_path / "two.user.wav", np.pad(tone(1.0), (24_000, 24_000)), 24_000)
    soundfile.write(tmp_path / "two.agent.wav", np.zeros(72_000, np.float32), 24_000)
    one, two = read_folder(tmp_path, "talk", Loud())
    assert (one.id, two.id) == ("one", "two")
    assert (one.events[0].start, one.events[0].end) == pytest.approx((1.0, 2.0), abs=0.01)
    assert (two.events[0].start, two.events[0].end) == pytest.approx((1.0, 2.0), abs=0.01)
    assert total((Span(one.events[0].start, one.events[0].end),)) == pytest.approx(1.0, abs=0.01)


def test_given_events_are_taken_and_checked(tmp_path: Path) -> None:
    stereo(tmp_path / "one.wav", [(3, 4)], [(1, 2)])
    given_ = {"events": [{"kind": "turn", "start": 1.1, "end": 1.9}], "text": "Who?", "answers": ["Me"]}
    (tmp_path / "one.json").write_text(json.dumps(given_))
    (sample,) = read_folder(tmp_path, "talk", Loud())
    assert (sample.events[0].start, sample.events[0].source, sample.answers) == (1.1, "given", ("Me",))
    for bad, says in (
        ({"events": [{"kind": "turn", "start": 1, "end": 99}]}, "outside the 6.00 s"),
        ({"events": [{"kind": "tern", "start": 1, "end": 2}]}, "tern"),
        ({"event": []}, "did you mean 'events'"),
        ("{", "not JSON"),
    ):
        (tmp_path / "one.json").write_text(bad if isinstance(bad, str) else json.dumps(bad))
        with pytest.raises(InputError, match=says):
            read_folder(tmp_path, "talk", Loud())


def test_a_mono_recording_is_not_taken_for_two_people(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", tone(1.0), 24_000)
    with pytest.raises(InputError, match="left agent, right user"):
        read_folder(tmp_path, "talk", Loud())


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no two-channel recordings"):
        read_folder(tmp_path, "talk", Loud())


# --- sets that are spoken for the repository ---------------------------------------------------------------------


class Beep:
    """A speaker that is a tone as long as its text."""

    source, voices = "beep/1", ()

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        return tone(0.03 * len(text))


def test_texts_become_a_folder_of_questions_with_exact_edges(tmp_path: Path) -> None:
    (tmp_path / "texts.yaml").write_text(
        'unknown: "No idea."\nitems:\n- {id: a, question: "Who are you?", answers: [me, I], reply: "It is me."}\n'
        '- {id: b, question: "And who is that?", answers: [you]}\n'
    )
    assert make(tmp_path, Beep()) == 4
    (a, b), _ = read_questions(tmp_path, Loud())
    assert (a.id, a.answers, b.answers) == ("a", ("me", "I"), ("you",))
    assert a.speech_source == "given"
    audio = read_channel(a.file)
    loud = np.flatnonzero(np.abs(audio) > 0.005) / 24_000
    assert loud[0] == pytest.approx(a.speech.start, abs=0.005)
    assert loud[-1] == pytest.approx(a.speech.end, abs=0.005)
    assert np.sqrt(np.mean(audio[audio != 0] ** 2)) == pytest.approx(0.06, rel=0.1)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ("[{id: a, question: x, answers: [y]}, {id: a, question: z, answers: [y]}]", "uses an id twice"),
        ("[{id: a, question: x, answers: []}]", "a has no answer"),
        ("[{id: a, question: x, answers: [y], reply: z}]", "does not contain its first answer"),
        ("[{id: a, questions: x, answers: [y]}]", "questions"),
    ],
)
def test_texts_that_cannot_be_spoken_say_why(tmp_path: Path, items: str, says: str) -> None:
    (tmp_path / "texts.yaml").write_text(f"items: {items}\n")
    with pytest.raises(InputError, match=says):
        make(tmp_path, Beep())


def test_an_answer_is_interrupted_in_the_voice_of_the_question(detector: SileroActivity) -> None:
    suite = load_suite("world", detector)
    found = [s for s in suite.samples if s.task == "interruptions"]
    assert len(found) == 60
    for sample in found:
        turn, interruption = sample.events
        question, over = sample.cues
        assert (turn.kind, turn.cue, question.after_agent) == ("turn", None, None)
        assert (interruption.kind, interruption.cue, over.after_agent) == ("interruption", 1, 0.4)
        assert over.at >= turn.end
        assert interruption.label in load_world().stop
        assert sample.length >= interruption.end
        check(sample)
    voices = {row["Id"]: row["Voice"] for row in table(suite.root / "stop")}
    for sample in found:
        assert f"voice:{voices[Path(sample.cues[1].path).stem]}" in sample.tags


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "questions.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))

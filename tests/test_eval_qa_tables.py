"""Question sets of every form become the same questions, or one clear error; overlays correct them and say so."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import DATA, tone
from eval.activity import SileroActivity
from eval.tasks.qa import parse, read_qa
from eval.tasks.qa_hub import read_hub
from eval.tasks.qa_overlay import LIBRARY, corrected, load_overlay
from eval.tasks.qa_tables import Item, read_table
from eval.tasks.suite import load_suite
from eval.tasks.user import render
from protocols.duplex import Audio
from protocols.errors import InputError
from protocols.timeline import Span, Track

TRIVIA = {
    "Data": [
        {
            "Question": "Who?",
            "QuestionId": "tc_1",
            "Answer": {"Value": "Me", "Aliases": ["I", "Me", "Myself"], "Type": "x"},
        }
    ],
    "Domain": "Web",
}
FORMS = {
    "llama.tsv": 'Questions\tAnswer\tWav Filename\nWho is "it"?\tMe\ta.wav\n',
    "web.json": json.dumps([{"qId": "w0", "answers": ["Me", "I"], "qText": "Who?"}]),
    "trivia.json": json.dumps(TRIVIA),
    "dpr.tsv": 'Who?\t"[\'Me\', ""It\'s me""]"\nWhat?\t[\'It\']\n',
    "rows.jsonl": '{"question": "Who?", "aliases": ["Me", "I"]}\n\n{"question": "What?", "answer": "It"}\n',
    "rows.csv": 'id,question,answer\nx,"Who, then?",Me | I\n',
    "hub.jsonl": '{"question_id": "h", "question": "Who?", "answer": {"value": "Me", "aliases": ["I"]}}\n',
}
READ = {
    "llama.tsv": [Item("a", 'Who is "it"?', ("Me",), "a.wav")],
    "web.json": [Item("w0", "Who?", ("Me", "I"))],
    "trivia.json": [Item("tc_1", "Who?", ("Me", "I", "Myself"))],
    "dpr.tsv": [Item("00001", "Who?", ("Me", "It's me")), Item("00002", "What?", ("It",))],
    "rows.jsonl": [Item("00001", "Who?", ("Me", "I")), Item("00003", "What?", ("It",))],
    "rows.csv": [Item("x", "Who, then?", ("Me", "I"))],
    "hub.jsonl": [Item("h", "Who?", ("Me", "I"))],
}
LICENCE = {"llama.tsv": "state no licence", "web.json": "CC BY 4.0", "trivia.json": "TriviaQA", "rows.csv": "not known"}


class Beep:
    """A speaker that is a tone as long as its text, and counts what it is asked to say."""

    source, voices = "beep/1", ("low", "high", "odd")

    def __init__(self) -> None:
        self.said: list[tuple[str, str | None]] = []

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        self.said.append((text, voice))
        return tone(0.03 * len(text))


class Loud:
    """A detector that calls everything loud speech."""

    source = "loud/1"

    def spans(self, audio: Audio, sample_rate: int) -> Track:
        loud = np.flatnonzero(np.abs(audio) > 0.01)
        return (Span(loud[0] / sample_rate, (loud[-1] + 1) / sample_rate),) if loud.size else ()


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FORMS[name], encoding="utf-8")
    for place in (tmp_path / name, tmp_path):
        table = read_table(place)
        assert list(table.items) == READ[name]
        assert LICENCE.get(name, "") in table.licence


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "a.tsv",
            "Questions\tReply\nWho?\tMe\n",
            r"lacks the column.s. answers .answers or answer.*it has Questions, Reply",
        ),
        ("a.csv", "question,answer\nWho?,\n", "row 2: the answer is empty"),
        ("a.csv", "question,answer\n ,Me\n", "row 2: the question is empty"),
        ("a.csv", "id,question,answer\nx,Who?,Me\nx,What?,It\n", "row 3: the id 'x' was used in row 2"),
        ("a.csv", "id,question,answer\nx,Who?\n", "row 2: 2 of 3 columns"),
        ("a.tsv", "Who?\tMe\nWhat?\tIt\tthere\n", "not two columns"),
        ("a.csv", "question,answer\n", "holds no questions"),
        ("a.csv", "", "holds no questions"),
        ("a.jsonl", '{"question": "Who?"\n', "line 1 is not JSON"),
        ("a.jsonl", "[1]\n", "line 1 is not an object"),
        ("a.json", "3", "neither a list"),
        ("a.json", '[{"question": "Who?", "answers": []}]', "the answer is empty"),
        ("a.txt", "Who?", "is one of .tsv"),
        ("a.csv", "question,answer,audio\nWho?,Me,a.wav\nWhat?,It,\n", "'00003' has no recording and others have"),
    ],
)
def test_a_bad_set_says_what_is_wrong_and_where(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_table(tmp_path / name)


@given(st.binary(max_size=200), st.sampled_from([".tsv", ".csv", ".json", ".jsonl"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
def test_any_bytes_are_questions_or_one_clear_error(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / (os.urandom(6).hex() + suffix)
    for content in (data, b"question\tanswer\n" + data, b'{"question": ' + data):
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            assert read_table(path).items


def test_a_folder_of_two_tables_asks_which_one(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("question,answer\nWho?,Me\n")
    with pytest.raises(InputError, match=r"2 tables \(a.csv, b.csv\); name the one"):
        read_table(tmp_path)
    with pytest.raises(InputError, match="no question set at /nowhere"):
        read_table(Path("/nowhere"))


# --- samples -------------------------------------------------------------------------------------------------------


def many(folder: Path, n: int = 12) -> str:
    lines = [json.dumps({"id": f"q{i}", "question": f"What is number {i}?", "answers": [str(i)]}) for i in range(n)]
    (folder / "set.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder / "set.jsonl")


def test_questions_without_sound_are_spoken_once_in_several_voices(tmp_path: Path) -> None:
    place, speaker = many(tmp_path), Beep()
    first = read_qa(place, Loud(), speaker=speaker, cache=tmp_path / "cache")
    assert len(speaker.said) == 12
    assert {voice for _, voice in speaker.said} == set(Beep.voices)
    again = read_qa(place, Loud(), speaker=speaker, cache=tmp_path / "cache")
    assert len(speaker.said) == 12
    assert again.task == first.task
    sample = first.task.samples[3]
    assert (sample.id, sample.text, sample.answers, sample.cluster) == ("qa/q3", "What is number 3?", ("3",), "q3")
    turn = sample.events[0]
    assert (turn.start, turn.source) == (0.04, "made")
    assert turn.end == pytest.approx(sample.length - 0.04)  # the margins are made, so the edges are known
    assert render(sample, first.root).any()
    assert first.notes[1].startswith("12 questions spoken by beep/1 in 3 voice(s), kept in ")


def test_a_question_keeps_its_voice_when_fewer_are_asked(tmp_path: Path) -> None:
    place = many(tmp_path)
    whole, part = (read_qa(place, Loud(), n, Beep(), tmp_path / "c").task.samples for n in (None, 5))
    assert whole[:5] == part


def test_questions_with_sound_are_played_and_their_speech_is_found(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    soundfile.write(tmp_path / "wav" / "a.wav", np.pad(tone(1.0), 2400), 24_000)
    (tmp_path / "set.csv").write_text("question,answer,audio\nWho?,Me,a.wav\n")
    asked = read_qa(str(tmp_path), Loud(), cache=tmp_path / "c")
    (sample,) = asked.task.samples
    assert sample.cues[0].path == "wav/a.wav"
    assert (sample.events[0].start, sample.events[0].end) == pytest.approx((0.1, 1.1), abs=0.002)
    assert sample.events[0].source == "loud/1"
    (tmp_path / "set.csv").write_text("question,answer,audio\nWho?,Me,../a.wav\n")
    with pytest.raises(InputError, match=r"no sound file '../a.wav'"):
        read_qa(str(tmp_path), Loud(), cache=tmp_path / "c")


@pytest.mark.needs("espeak")
def test_a_suite_is_made_of_any_set(tmp_path: Path) -> None:
    suite = load_suite(f"qa:{many(tmp_path, 2)}", SileroActivity())
    assert (suite.name, len(suite.samples)) == ("qa:set.jsonl", 2)
    assert {"qa.text", "qa.speech", "qa.gap", "qa.floor.canned", "qa.floor.echo"} <= set(suite.metrics["qa"])
    assert any("spoken by espeak-ng" in note for note in suite.notes)


# --- overlays ------------------------------------------------------------------------------------------------------

ITEMS = [Item("a", "Who?", ("Me", "I")), Item("b", "What?", ("It",)), Item("c", "When?", ("Now",))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("o.yaml", "items: {a: {add: [Myself], drop: [I]}, b: {skip: true, note: no}}"),
        ("o.tsv", "Id\tAdd\tDrop\tSkip\tNote\na\tMyself\tI\t\t\nb\t\t\tyes\tno\n"),
    ],
)
def test_an_overlay_adds_drops_and_takes_out(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text.replace("note: no", "note: 'no'"))
    assert corrected(ITEMS, load_overlay(str(tmp_path / name))) == {"a": ("Me", "Myself"), "b": (), "c": ("Now",)}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("o.yaml", "items: {z: {add: [x]}}", "names none of the set's questions"),
        ("o.yaml", "items: {a: {drop: [You]}}", "drops 'You' of question 'a', which has"),
        ("o.yaml", "items: {b: {drop: [It]}}", "leaves question 'b' without an answer"),
        ("o.yaml", "items: {a: {ad: [x]}}", "ad"),
        ("o.tsv", "Id\tAlias\na\tx\n", "unknown column 'alias'"),
        ("o.tsv", "Id\tAdd\na\tx\na\ty\n", "row 3: the id is used twice"),
        ("o.tsv", "Id\tSkip\na\tmaybe\n", "skip is 'maybe', not yes or no"),
    ],
)
def test_a_bad_overlay_says_what_is_wrong(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=says):
        corrected(ITEMS, load_overlay(str(tmp_path / name)))


def test_an_overlay_is_named_behind_the_set_and_its_figures_stand_beside_the_published_ones(tmp_path: Path) -> None:
    (tmp_path / "o.yaml").write_text("items: {q1: {add: [one]}, q2: {skip: true}}")
    asked = read_qa(f"{many(tmp_path, 3)}@{tmp_path / 'o.yaml'}", Loud(), speaker=Beep(), cache=tmp_path / "c")
    assert [s.overlay for s in asked.task.samples] == [("0",), ("1", "one"), ()]
    assert [s.answers for s in asked.task.samples] == [("0",), ("1",), ("2",)]
    assert {"qa.text", "qa.text.overlay", "qa.speech.overlay"} <= set(asked.task.metrics)
    assert asked.notes[-1].endswith("o.yaml changes 2 of 3 questions")
    (tmp_path / "x@y").mkdir()
    assert parse(str(tmp_path / "x@y")).overlay is None
    with pytest.raises(InputError, match="did you mean 'llama-questions'"):
        load_overlay("llama-question")


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_overlays_are_whole(path: Path) -> None:
    overlay = load_overlay(path.stem)
    assert overlay.about
    assert all(change.skip or change.add for change in overlay.items.values())


# --- hub and real sets -----------------------------------------------------------------------------------------------


def test_a_hub_name_that_cannot_be_had_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"path of a file"):
        read_hub("nobody/no-such-set#test", tmp_path)


def test_a_set_is_read_through_the_hub_library(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="pip install -e '.[hub]'")
    many(tmp_path, 3)
    table = read_hub(f"{tmp_path}#train", tmp_path / "cache")
    assert [item.id for item in table.items] == ["q0", "q1", "q2"]
    assert "not stated" in table.licence


@pytest.mark.needs("data")
@pytest.mark.parametrize(
    ("place", "n", "licence"),
    [
        ("llama-questions/llama_questions_120.tsv", 120, "no licence"),
        ("web-questions", 2032, "CC BY 4.0"),
        ("triviaqa/triviaqa_sample.json", 1, "TriviaQA"),
        ("triviaqa/dpr_trivia_dev_1000.tsv", 1000, "not known"),
    ],
)
def test_real_sets_are_read_as_they_come(place: str, n: int, licence: str) -> None:
    table = read_table(DATA / place)
    assert len(table.items) == n
    assert licence in table.licence
    assert all(item.answers for item in table.items)


@pytest.mark.needs("data")
def test_the_shipped_overlay_fits_llama_questions() -> None:
    items = read_table(DATA / "llama-questions").items
    after = corrected(items, load_overlay("llama-questions"))
    assert sum(not answers for answers in after.values()) == 4
    assert after["15"] == ("Australia", "Oceania")
    assert set(load_overlay("llama-questions").items) <= {item.id for item in items}

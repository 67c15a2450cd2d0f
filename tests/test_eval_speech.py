"""What speech is like as speech: word error rate with its alignment, rate, length of answers."""

import jiwer
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import talk
from eval.metrics import METRICS
from eval.metrics.base import Heard, Reading
from eval.metrics.speech import align, normal
from protocols.records import Transcript, Word


def read(name: str, heard: Heard) -> Reading:
    (reading,) = METRICS[name].read(heard)
    return reading


def said(text: str | None, speech: str | None, seconds: float = 2.0) -> Heard:
    """A talk in which the agent writes one thing and is heard to say another."""
    heard = talk(f"agent: [5-{5 + seconds}] | user: [1-4] | turn: [1-4]")

    def transcripts(source: str, words: str | None) -> tuple[Transcript, ...]:
        timed = tuple(Word(w, 5 + i / 10, 5.1 + i / 10) for i, w in enumerate((words or "").split()))
        return () if words is None else (Transcript("agent", source, timed),)

    return heard._replace(
        talk=msgspec.structs.replace(heard.talk, transcripts=transcripts("model", text)),
        listening=msgspec.structs.replace(heard.listening, transcripts=transcripts("asr", speech)),
    )


@pytest.mark.parametrize(
    ("text", "speech", "value", "outcome"),
    [
        ("the cat sat down", "the cat sat down", 0.0, "same"),
        ("The cat, sat down!", "the cat sat down", 0.0, "same"),
        ("it is sixty", "it is 60", 0.0, "same"),
        ("the cat sat down", "the cap sat", 0.5, "differs"),
        ("yes", "yes of course", 2.0, "differs"),
        ("the cat sat", "", 1.0, "unsaid"),
        ("", "the cat", None, "unwritten"),
        ("", "", None, "silent"),
        (None, "the cat", None, "not_heard"),
        ("the cat", None, None, "not_heard"),
    ],
)
def test_word_error_rate(text: str | None, speech: str | None, value: float | None, outcome: str) -> None:
    reading = read("speech.wer", said(text, speech))
    assert (reading.value, reading.outcome) == (value, outcome)
    assert (reading.reason is None) == (value is not None)


def test_the_alignment_is_kept_word_by_word() -> None:
    reading = read("speech.wer", said("the cat sat down", "the cap sat now there"))
    assert reading.evidence[0].text == "the [cat > cap] sat [+ now] [down > there]"
    assert align("a b c", "a c") == (1 / 3, "a [- b] c")


WORDS = st.lists(st.sampled_from(["cat", "dog", "sat", "here"]), min_size=1, max_size=8).map(" ".join)


@given(WORDS, WORDS)
def test_the_rate_is_the_edit_distance_over_the_reference(reference: str, hypothesis: str) -> None:
    rate, alignment = align(reference, hypothesis)
    assert rate == pytest.approx(edits(reference.split(), hypothesis.split()) / len(reference.split()))
    assert rate == pytest.approx(jiwer.wer(reference, hypothesis))
    assert (rate == 0) == ("[" not in alignment)


def edits(a: list[str], b: list[str]) -> int:
    """Levenshtein's distance, written out."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def test_normalising_twice_changes_nothing() -> None:
    for text in ("It's sixty-four, isn't it?", "Colour", ""):
        assert normal(normal(text)) == normal(text)


def test_speech_rate_counts_words_over_speech_and_not_over_the_talk() -> None:
    assert read("speech.rate", said("one two three four", None)).value == pytest.approx(2.0)
    assert read("speech.rate", said(None, "one two", seconds=1.0)).value == pytest.approx(2.0)
    for silent in (said("", ""), said("a", "a", seconds=0.2)):
        assert (read("speech.rate", silent).value, read("speech.rate", silent).outcome) == (None, "silent")
    assert read("speech.rate", said(None, None)).outcome == "not_heard"


def test_an_answer_is_as_long_as_what_follows_the_question() -> None:
    heard = talk("agent: hi[0.1-0.5] it[5-5.2] is[5.2-5.4] me[5.4-6] | user: [1-4] | turn: [1-4]")
    assert read("speech.answer_words", heard).value == 3
    assert read("speech.answer_seconds", heard).value == pytest.approx(1.0)
    silent = talk("agent: | user: [1-4] | turn: [1-4]")
    assert (read("speech.answer_words", silent).value, read("speech.answer_words", silent).outcome) == (
        0.0,
        "no_answer",
    )
    assert (read("speech.answer_seconds", silent).value, read("speech.answer_seconds", silent).outcome) == (
        0.0,
        "silent",
    )

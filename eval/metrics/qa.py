"""Spoken questions: does the agent give an accepted answer, on its text stream and in its audio.

The headline is `qa.text` and `qa.speech`: an alias is found by its words and has to be affirmed (`qa_match`). Beside it
stand the gap between the two channels, the figure with an overlay's corrections where the suite has one, two legacy
scorers, and the floors: what a canned non-answer and the question itself would have got on the same items. A talk
without an answer scores 0 and says which silence it was (`qa_window`).
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from eval.metrics.base import Heard, Metric, Reading, evidence
from eval.metrics.channels import MISSING, ContentChannel, transcript_of
from eval.metrics.qa_legacy import has_substring, has_tokens
from eval.metrics.qa_match import find_alias, match_answer
from eval.metrics.qa_window import answer_of
from eval.metrics.text_fold import fold
from protocols.records import MetricInfo, Sample

__all__ = ["CANNED", "QA_METRICS", "QA_SPEECH", "QA_TEXT", "find_alias", "fold"]

CANNED = "I'm sorry, I don't know the answer to that question. Is there anything else I can help you with?"


class Judged(NamedTuple):
    """What a scorer says of one answer; `match` is what it found, for the eye."""

    right: bool
    outcome: str
    match: str = ""


Scorer = Callable[[str, Sequence[str], str], Judged]  # answer, accepted answers, question


def by_alias(answer: str, accepted: Sequence[str], question: str) -> Judged:
    """The headline: an accepted answer is affirmed."""
    found = match_answer(answer, accepted, question)
    if found is None:
        return Judged(False, "wrong")
    outcome = {"affirmed": "right", "denied": "denied", "open": "left_open"}[found.stance]
    return Judged(found.stance == "affirmed", outcome, f"{found.alias}: {found.text}")


def _legacy(find: Callable[[str, Sequence[str]], str | None]) -> Scorer:
    def judge(answer: str, accepted: Sequence[str], question: str) -> Judged:
        alias = find(answer, accepted)
        return Judged(alias is not None, "wrong" if alias is None else "right", alias or "")

    return judge


def read_answer(heard: Heard, way: ContentChannel, scorer: Scorer, accepted: Sequence[str]) -> Reading:
    """One talk's answer by one scorer."""
    transcript = transcript_of(heard, way)
    if transcript is None:
        return Reading(None, "not_heard", MISSING[way])
    answer = answer_of(heard, transcript)
    if answer.silence is not None:
        return Reading(0.0, answer.silence)
    judged = scorer(answer.text, accepted, heard.sample.text)
    shown = [evidence("answer", "agent", answer.span, transcript.source, answer.text)]
    if judged.match:
        shown.append(evidence("match", "agent", answer.span, transcript.source, judged.match))
    return Reading(float(judged.right), judged.outcome, None, None, tuple(shown))


def read_gap(heard: Heard) -> list[Reading]:
    """Text minus speech: 1 if only the text is right, -1 if only the speech is."""
    if not heard.sample.answers:
        return []
    text, speech = (read_answer(heard, way, by_alias, heard.sample.answers) for way in ("text", "speech"))
    if text.value is None or speech.value is None:
        return [Reading(None, "not_heard", text.reason or speech.reason)]
    names = {(1.0, 1.0): "both_right", (0.0, 0.0): "both_wrong", (1.0, 0.0): "text_only", (0.0, 1.0): "speech_only"}
    return [Reading(text.value - speech.value, names[text.value, speech.value])]


def _asked(sample: Sample) -> list[int | None]:
    return [None] if sample.answers else []


def _overlaid(sample: Sample) -> list[int | None]:
    return [] if sample.overlay is None else [None]


def _published(way: ContentChannel, scorer: Scorer) -> Callable[[Heard], list[Reading]]:
    return lambda heard: [read_answer(heard, way, scorer, heard.sample.answers) for _ in _asked(heard.sample)]


def _with_overlay(way: ContentChannel) -> Callable[[Heard], list[Reading]]:
    def read(heard: Heard) -> list[Reading]:
        if heard.sample.overlay is None:
            return []
        if not heard.sample.overlay:
            return [Reading(None, "left_out", "the overlay takes this question out")]
        return [read_answer(heard, way, by_alias, heard.sample.overlay)]

    return read


def _floor(answer: Callable[[Sample], str]) -> Callable[[Heard], list[Reading]]:
    def read(heard: Heard) -> list[Reading]:
        judged = [by_alias(answer(s), s.answers, s.text) for s in [heard.sample] if s.answers]
        return [Reading(float(j.right), "would_pass" if j.right else "fails") for j in judged]

    return read


def _info(name: str, title: str, definition: str, better: Literal["higher", "none"] = "higher") -> MetricInfo:
    return MetricInfo(
        name=name,
        version="3" if name in ("qa.text", "qa.speech") else "1",
        title=title,
        unit="share",
        kind="continuous" if name == "qa.gap" else "binary",
        better=better,
        margin=0.03,
        definition=definition,
        degenerate="An agent that says nothing after the question is wrong: 0, with outcome no_answer, early (it spoke "
        "only before the question ended) or greeting_only.",
    )


def _channels(suffix: str, title: str, rule: str, read: Callable[[ContentChannel], Callable[[Heard], list[Reading]]],
              applies: Callable[[Sample], list[int | None]] = _asked) -> tuple[Metric, Metric]:  # fmt: skip
    """The same rule on the text stream and on what was heard."""
    text = _info(
        f"qa.text{suffix}", f"Right answers, text stream{title}", f"1 if {rule} the system's own text stream, else 0."
    )
    speech = _info(
        f"qa.speech{suffix}", f"Right answers, as heard{title}", f"1 if {rule} what a transcriber heard, else 0."
    )
    return Metric(text, read("text"), applies), Metric(speech, read("speech"), applies)


AFFIRMED = "an accepted answer is found word by word, and affirmed, in"
OVERLAID = "an answer that the overlay accepts is found, and affirmed, in"
TOKENS = "the tokens of an accepted answer stand one after another in"
SUBSTRING = "the characters of an accepted answer stand in"
QA_TEXT, QA_SPEECH = _channels("", "", AFFIRMED, lambda way: _published(way, by_alias))
GAP = _info(
    "qa.gap",
    "Right in text, not as heard",
    "qa.text minus qa.speech of the same talk; its mean is the gap between what the system writes and is heard to say.",
    "none",
)
CANNED_FLOOR = _info(
    "qa.floor.canned", "Floor: a canned non-answer", f"1 if {CANNED!r} would count as right, else 0.", "none"
)
ECHO_FLOOR = _info(
    "qa.floor.echo", "Floor: the question itself", "1 if repeating the question would count as right, else 0.", "none"
)
QA_METRICS: tuple[Metric, ...] = (
    QA_TEXT,
    QA_SPEECH,
    Metric(GAP, read_gap, _asked),
    *_channels(".overlay", ", with overlay", OVERLAID, _with_overlay, _overlaid),
    *_channels(".tokens", " (legacy tokens)", TOKENS, lambda way: _published(way, _legacy(has_tokens))),
    *_channels(".substring", " (legacy substring)", SUBSTRING, lambda way: _published(way, _legacy(has_substring))),
    Metric(CANNED_FLOOR, _floor(lambda sample: CANNED), _asked),
    Metric(ECHO_FLOOR, _floor(lambda sample: sample.text), _asked),
)

"""Spoken questions: does the agent's answer contain an accepted one, on its text stream and in its audio.

An answer counts if the words of any accepted alias stand in it one after another. Both sides are folded first:
accents and case go, numbers become digits, spelling follows the Whisper English normaliser, articles go. Matching
whole words, not letters, keeps "Pb" out of "upbeat". Everything the agent says from the start of the user's turn on
is read; what it said before (a greeting) is not.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from eval.metrics.base import Heard, Metric, Reading, evidence
from protocols.records import MetricInfo, Sample, Transcript, Word
from protocols.timeline import Span

ARTICLES = {"a", "an", "the"}


@cache
def _normalizer() -> Any:
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()


@lru_cache(maxsize=65_536)
def fold(text: str) -> tuple[str, ...]:
    """Text as comparable words."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", _normalizer()(plain).casefold())
    return tuple(word for word in words if word not in ARTICLES)


def find_alias(answer: str, aliases: Sequence[str]) -> str | None:
    """The first alias whose words stand in the answer one after another; None if none does.

    An alias that folds to nothing (only articles or signs) matches nothing.
    """
    said = fold(answer)
    for alias in aliases:
        wanted = fold(alias)
        n = len(wanted)
        if n and any(said[i : i + n] == wanted for i in range(len(said) - n + 1)):
            return alias
    return None


def read_answer(heard: Heard, transcript: Transcript | None, missing: str) -> list[Reading]:
    """One reading: was an accepted answer among the agent's words."""
    if not heard.sample.answers:
        return []
    if transcript is None:
        return [Reading(None, "not_heard", missing)]
    turns = heard.events("turn")
    since = turns[0][1].start if turns else 0.0
    words = [word for word in transcript.words if word.end > since]
    if not words:
        return [Reading(0.0, "no_answer")]
    text = " ".join(word.text for word in words)
    alias = find_alias(text, heard.sample.answers)
    said = evidence("answer", "agent", _extent(words), transcript.source, text)
    return [Reading(0.0 if alias is None else 1.0, "wrong" if alias is None else "right", None, None, (said,))]


def _extent(words: Sequence[Word]) -> Span:
    return Span(min(w.start for w in words), max(w.end for w in words))


def read_text(heard: Heard) -> list[Reading]:
    return read_answer(heard, heard.model_transcript(), "the system gives no text of its own")


def read_speech(heard: Heard) -> list[Reading]:
    return read_answer(heard, heard.speech_transcript(), "no transcriber listened to this talk")


def _asked(sample: Sample) -> list[int | None]:
    return [None] if sample.answers else []


def _info(name: str, title: str, source: str) -> MetricInfo:
    return MetricInfo(
        name=name,
        version="1",
        title=title,
        unit="share",
        kind="binary",
        better="higher",
        margin=0.03,
        definition=f"1 if the words of an accepted answer stand one after another in {source}, else 0.",
        degenerate="An agent that says nothing is wrong: 0, outcome no_answer.",
    )


QA_TEXT = Metric(_info("qa.text", "Right answers, text stream", "the system's own text stream"), read_text, _asked)
QA_SPEECH = Metric(_info("qa.speech", "Right answers, as heard", "what a transcriber heard"), read_speech, _asked)

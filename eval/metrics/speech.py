"""What the agent's speech is like as speech: does it say what it writes, how fast, how long its answers are.

The word error rate takes the system's own text stream as the reference and the transcriber's words as the hypothesis,
both after the Whisper English normaliser, so it contains the transcriber's own errors; the alignment is kept as
evidence. Rates count words over the time the agent is heard to speak, not over the talk.
"""

from functools import cache, lru_cache
from typing import Any, Literal

from eval.metrics.base import Heard, Metric, Reading, evidence, whole_talk
from eval.metrics.qa_window import answer_of
from protocols.records import MetricInfo, Transcript
from protocols.timeline import Span, clip, total

MIN_SPEECH = 0.5  # seconds; a rate over less is no rate


def read_wer(heard: Heard) -> list[Reading]:
    """Word error rate of one talk."""
    text, speech = heard.model_transcript(), heard.speech_transcript()
    if text is None or speech is None:
        return [Reading(None, "not_heard", "the system gives no text of its own" if text is None else
                        "no transcriber listened to this talk")]  # fmt: skip
    reference, hypothesis = normal(text.text), normal(speech.text)
    if not reference:
        outcome, said = ("unwritten", "speaks") if hypothesis else ("silent", "says nothing")
        return [Reading(None, outcome, f"the text stream is empty and the agent {said}")]
    rate, alignment = align(reference, hypothesis)
    span = Span(text.words[0].start, max(w.end for w in text.words))
    shown = evidence("alignment", "agent", span, speech.source, alignment)
    outcome = "unsaid" if not hypothesis else "same" if rate == 0 else "differs"
    return [Reading(rate, outcome, None, None, (shown,))]


def align(reference: str, hypothesis: str) -> tuple[float, str]:
    """Word error rate of normalised texts and the alignment: words, [a > b] replaced, [- a] left out, [+ b] added."""
    import jiwer

    found = jiwer.process_words(reference, hypothesis) if hypothesis else None
    if found is None:
        return 1.0, f"[- {reference}]"
    parts = []
    for chunk in found.alignments[0]:
        a = " ".join(found.references[0][chunk.ref_start_idx : chunk.ref_end_idx])
        b = " ".join(found.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx])
        form = {"equal": "{a}", "substitute": "[{a} > {b}]", "delete": "[- {a}]", "insert": "[+ {b}]"}[chunk.type]
        parts.append(form.format(a=a, b=b))
    return float(found.wer), " ".join(parts)


@lru_cache(maxsize=8_192)
def normal(text: str) -> str:
    """Text after the Whisper English normaliser."""
    return " ".join(_normalizer()(text).split())


@cache
def _normalizer() -> Any:
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()


def _words_of(heard: Heard) -> Transcript | None:
    """The agent's words: its own text stream, else what was heard."""
    text = heard.model_transcript()
    return text if text is not None else heard.speech_transcript()


def read_rate(heard: Heard) -> list[Reading]:
    """Words a second of agent speech."""
    words, seconds = _words_of(heard), total(heard.spans("agent"))
    if words is None:
        return [Reading(None, "not_heard", "nobody wrote down the agent's words")]
    if seconds < MIN_SPEECH or not words.words:
        return [Reading(None, "silent", f"the agent speaks for less than {MIN_SPEECH:g} s or says no word")]
    return [Reading(len(words.words) / seconds, "spoke")]


def read_answer_words(heard: Heard) -> list[Reading]:
    """Words from the question's end on; a silent agent's answer has none."""
    words = _words_of(heard)
    if not heard.events("turn"):
        return []
    if words is None:
        return [Reading(None, "not_heard", "nobody wrote down the agent's words")]
    answer = answer_of(heard, words)
    return [Reading(float(len(answer.words)), answer.silence or "answered")]


def read_answer_seconds(heard: Heard) -> list[Reading]:
    """Seconds of agent speech from the question's end on."""
    turns = heard.events("turn")
    if not turns:
        return []
    seconds = total(clip(heard.spans("agent"), Span(turns[0][1].end, heard.duration)))
    return [Reading(seconds, "answered" if seconds > 0 else "silent")]


def _info(name: str, title: str, unit: str, margin: float, definition: str, degenerate: str,
          better: Literal["lower", "none"] = "none") -> MetricInfo:  # fmt: skip
    return MetricInfo(name, "1", title, unit, "continuous", better, margin, definition, degenerate)


def _first_turn(sample: Any) -> list[int | None]:
    return [None] if any(event.kind == "turn" for event in sample.events) else []


SPEECH_METRICS: tuple[Metric, ...] = (
    Metric(
        _info("speech.wer", "Words said otherwise than written", "share", 0.02,
              "Word error rate of what a transcriber heard against the system's own text stream, after the Whisper "
              "English normaliser. It contains the transcriber's own errors.",
              "An empty text stream: no value; text that is not heard at all: 1.", "lower"),
        read_wer, whole_talk,
    ),
    Metric(
        _info("speech.rate", "Speech rate", "words/s", 0.2,
              "Words of the agent, from its text stream or else as heard, over the seconds it is heard to speak.",
              f"Less than {MIN_SPEECH:g} s of speech or no word: no value."),
        read_rate, whole_talk,
    ),
    Metric(
        _info("speech.answer_words", "Answer length", "words", 2.0,
              "Words of the agent from the question's end on, from its text stream or else as heard.",
              "No answer: 0 words, with the outcome that says why."),
        read_answer_words, _first_turn,
    ),
    Metric(
        _info("speech.answer_seconds", "Answer duration", "s", 0.5,
              "Seconds in which the agent is heard to speak from the question's end on.",
              "No answer: 0 s, outcome silent."),
        read_answer_seconds, _first_turn,
    ),
)  # fmt: skip

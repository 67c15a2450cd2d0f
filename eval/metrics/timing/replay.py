"""Replay length: how many words an agent says in reply before it falls silent.

By the text stream, 20 consecutive padding frames (1.6 s without a word) end a reply, as in the paper; by a
transcriber's words, 1.6 s of agent silence do. Whoever just talks more has longer replies: the figure is the
control beside every gain in turns taken, and no direction of it is better.
"""

from collections.abc import Sequence

from eval.metrics.base import Heard, Metric, Reading, evidence
from eval.metrics.timing.settings import DEFAULT, TimingSettings
from protocols.records import Event, MetricInfo, Sample, Transcript, Word
from protocols.timeline import Span, Track, first_from, utterances


def _turns(sample: Sample) -> list[int | None]:
    found: list[int | None] = [i for i, event in enumerate(sample.events) if event.kind == "turn"]
    return found or [None]


def read_replay(
    heard: Heard, transcript: Transcript | None, missing: str, speech: Track | None, settings: TimingSettings
) -> list[Reading]:
    """One reading per turn (or for the talk, if it has none). `speech`: the silence is read from there, not words."""
    turns = heard.events("turn")
    wanted: list[tuple[int | None, Event | None]] = [*turns] or [(None, None)]
    if transcript is None:
        return [Reading(None, "not_heard", missing, index) for index, _ in wanted]
    words = sorted(transcript.words, key=lambda w: (w.start, w.end))
    spans = [Span(w.start, w.end) for w in words] if speech is None else speech
    replies = utterances(spans, settings.replay_silence)
    return [_reading(heard, index, turn, words, replies, transcript.source, settings) for index, turn in wanted]


def _reading(
    heard: Heard, index: int | None, turn: Event | None, words: Sequence[Word], replies: Track, source: str,
    settings: TimingSettings,
) -> Reading:  # fmt: skip
    if turn is not None and turn.missed is not None:
        return Reading(None, "not_exercised", turn.missed or "the event did not happen", index)
    if turn is not None and not 0 <= turn.start < heard.duration:
        return Reading(None, "outside", f"the turn at {turn.start:g} s lies outside the recording", index)
    since = 0.0 if turn is None else turn.start
    following = min((e.start for _, e in heard.events("turn") if turn and e.start >= turn.end), default=None)
    reply = first_from(replies, since)
    if reply is not None and turn is not None and reply.end <= turn.end:  # over before the turn was: not the reply
        reply = first_from(replies, turn.end)
    if reply is None or (following is not None and reply.start >= following):
        return Reading(0.0, "silent", None, index)
    if heard.duration - reply.end < settings.replay_silence:
        return Reading(None, "censored", "the recording ends before the reply is known to be over", index)
    said = [w for w in words if reply.start <= (w.start + w.end) / 2 < reply.end or w.start == reply.start]
    text = " ".join(w.text for w in said)
    return Reading(float(len(said)), "replied", None, index, (evidence("reply", "agent", reply, source, text),))


def replay_metrics(settings: TimingSettings = DEFAULT) -> tuple[Metric, Metric]:
    """By the text stream, and by a transcriber's words."""

    def by_text(heard: Heard) -> list[Reading]:
        return read_replay(heard, heard.model_transcript(), "the system gives no text of its own", None, settings)

    def by_words(heard: Heard) -> list[Reading]:
        missing = "no transcriber listened to this talk"
        return read_replay(heard, heard.speech_transcript(), missing, heard.spans("agent"), settings)

    return (
        Metric(_info("timing.replay_length", "Reply length, text stream", "word of the text stream", settings),
               by_text, _turns),
        Metric(_info("timing.replay_length.words", "Reply length, as heard", "agent speech", settings),
               by_words, _turns, needs_words=True),
    )  # fmt: skip


def _info(name: str, title: str, silence: str, settings: TimingSettings) -> MetricInfo:
    return MetricInfo(
        name=name,
        version="1" + settings.turned(),
        title=title,
        unit="words",
        kind="continuous",
        better="none",
        margin=1.0,
        definition=f"Words of the first reply that is not over before the user's turn is, up to {1.6:g} s without a "
        f"{silence} (20 padding frames of 80 ms). In talks without turns: of the first speech.",
        degenerate="An agent that does not reply has 0, outcome silent; a recording that ends less than 1.6 s after "
        "the reply has no value, outcome censored.",
    )

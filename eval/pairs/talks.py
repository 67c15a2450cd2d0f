"""A raw talk as pairs are made from it: what was heard, the agent's replies in it, and its transcript.

A reply is a stretch of agent speech that takes the floor, the same one the timing metrics judge, with the words that
lie in it. Nothing here decides what is wrong with a reply.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from eval.metrics.base import Heard
from eval.metrics.timing.scene import WORD_SLACK, Scene, scene_maker
from eval.pairs.settings import PairSettings
from protocols.base import Value
from protocols.contracts import Line
from protocols.records import Event, Word
from protocols.replies import Tokens
from protocols.timeline import Span

Reason = Literal[
    "unreadable", "no_recording", "not_heard", "missing_side", "swapped", "outside", "too_short", "not_english",
    "no_words", "asr_failed", "duplicate", "no_fault", "no_reply_known", "does_not_fit", "no_difference",
    "chosen_faulty", "unjudged", "void", "tie", "no_shared_past", "other_layout",
    "not_revoiced",
]  # fmt: skip


WORDS_AT = ("turn", "interruption", "backchannel")  # what a user does with words


class Exclusion(Value, frozen=True):
    """A talk, or a flagged reply of it, that gave no pair, and why."""

    talk: str
    reason: Reason
    detail: str


class Mark(Value, frozen=True):
    """A person's word that the agent's reply at a moment is bad (or, problematic false, that it is good)."""

    talk: str
    at: float | None  # None: of the talk as a whole
    axis: str
    rater: str
    problematic: bool = True
    score: int | None = None


class RawTalk(NamedTuple):
    """One talk of a source."""

    id: str
    heard: Heard
    tokens: Tokens | None = None  # the system's own grid
    user_words: tuple[Word, ...] = ()
    sound: str | None = None  # the two-channel file; of a dataset that has it (sounds/...) where `sound_data` is given
    marks: tuple[Mark, ...] = ()
    sound_data: bytes | None = None


class Reply(NamedTuple):
    """A stretch of agent speech that takes the floor; `turn` counts those with words, from 1, as a critic does."""

    span: Span
    words: tuple[Word, ...]
    turn: int | None

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def scene_of(raw: RawTalk, settings: PairSettings) -> Scene:
    """The talk as the timing rules see it, by activity."""
    scene = raw.heard.once(scene_maker(settings.timing, "vad"))
    assert scene is not None  # activity is always there
    return scene


def replies_of(raw: RawTalk, scene: Scene) -> tuple[Reply, ...]:
    """The agent's replies in order of time."""
    known = raw.heard.model_transcript() or raw.heard.speech_transcript()
    words = sorted(known.words, key=lambda w: (w.start, w.end)) if known else []
    out: list[Reply] = []
    turn = 0
    for span in scene.takes:
        low, high = span.start - WORD_SLACK, span.end + WORD_SLACK
        said = tuple(w for w in words if low <= (w.start + w.end) / 2 < high)
        turn += bool(said)
        out.append(Reply(span, said, turn if said else None))
    return tuple(out)


def reply_at(replies: Sequence[Reply], time: float) -> Reply | None:
    """The reply that sounds at a moment."""
    return next((r for r in replies if r.span.start <= time < r.span.end), None)


def lines_of(raw: RawTalk, replies: Sequence[Reply], until: float | None = None) -> list[Line]:
    """The transcript a critic reads, by start; `until`: only what began before it."""
    lines = [Line("agent", r.span.start, r.span.end, r.text) for r in replies if r.turn is not None]
    events = [e for e in raw.heard.talk.events if e.kind in ("turn", "interruption", "backchannel") and not e.missed]
    lines += [Line("user", e.start, e.end, text) for e in events if (text := user_text(raw, e))]
    return sorted((x for x in lines if until is None or x.start < until), key=lambda x: (x.start, x.end))


def user_text(raw: RawTalk, event: Event) -> str:
    """What the user says in an event: transcribed, else as the stimulus was written."""
    inside = [
        w.text for w in raw.user_words if event.start - WORD_SLACK <= (w.start + w.end) / 2 < event.end + WORD_SLACK
    ]
    if inside:
        return " ".join(inside)
    if event.label:
        return event.label
    turns = [e for e in raw.heard.talk.events if e.kind == "turn"]
    return raw.heard.sample.text if len(turns) == 1 and event.kind == "turn" else ""

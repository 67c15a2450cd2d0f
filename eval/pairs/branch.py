"""One way a talk goes on: token columns, timed words and cuts of sound, composed from pieces of speech.

A piece is speech the model really made, or speech its voice made; pieces are moved whole, columns and sound together,
so nothing the model emitted is encoded again. Between pieces the agent is silent; from `user_until` on, so is the user.
Times are placed on the frame grid, never earlier than asked. Who says what when is decided in `eval.pairs.chosen`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from eval.pairs.talks import RawTalk, Reply
from protocols.base import Value
from protocols.duplex import Audio
from protocols.records import Word
from protocols.replies import GridLayout, Said, Tokens
from protocols.timeline import Span

LOOK_BACK = 4  # columns in which a reply's first word may stand before its sound
EPS = 1e-6


class Cut(Value, frozen=True):
    """A stretch of a sound file's agent channel (its only channel, if it has one), heard from `at` on."""

    path: str
    start: float
    end: float
    at: float


class Piece(NamedTuple):
    """Speech that can be put anywhere; 0 s is its first sound."""

    words: tuple[Word, ...]
    duration: float
    columns: Tokens | None  # [1 + agent streams, n]
    lead: float  # seconds from its first column to its first sound
    cut: Cut | None = None  # in the talk's own file
    audio: Audio | None = None  # or new sound


class Branch(NamedTuple):
    """A continuation. Times are the talk's; it begins at column `column` (`from_time`)."""

    column: int
    columns: Tokens | None
    words: tuple[Word, ...]
    cuts: tuple[Cut, ...]
    new: tuple[tuple[float, Audio], ...]  # new sound and where it is heard
    spans: tuple[Span, ...]  # when the agent speaks
    until: float
    user_until: float | None  # None: the user goes on as recorded


def column_at(time: float, layout: GridLayout) -> int:
    """The column that is about the agent at a moment."""
    return math.floor(time / layout.frame + EPS) - layout.agent_lag


def column_from(time: float, layout: GridLayout) -> int:
    """The first column that is about the agent not before a moment."""
    return math.ceil(time / layout.frame - EPS) - layout.agent_lag


def time_of(column: int, layout: GridLayout) -> float:
    """When the agent is heard saying a column."""
    return (column + layout.agent_lag) * layout.frame


def first_column(raw: RawTalk, reply: Reply, layout: GridLayout) -> int:
    """Where a reply begins in the grid: at its sound, or at the text just before it."""
    at = max(column_at(reply.span.start, layout), 0)
    if raw.tokens is None:
        return at
    low = max(at - LOOK_BACK, 0)
    said = np.flatnonzero(raw.tokens[layout.text, low : at + 1] != layout.pad)
    return low + int(said[0]) if said.size else at


def own_piece(raw: RawTalk, reply: Reply, layout: GridLayout, settings_longest: float) -> Piece:
    """A reply of the talk as a piece."""
    start = reply.span.start
    end = min(reply.span.end, start + settings_longest)
    first = first_column(raw, reply, layout)
    columns = None
    if raw.tokens is not None:
        last = column_from(end, layout) + 1
        columns = np.concatenate([raw.tokens[layout.text : layout.text + 1], raw.tokens[layout.agent]])[:, first:last]
    words = tuple(Word(w.text, w.start - start, w.end - start) for w in reply.words if w.start < end)
    cut = None if raw.sound is None else Cut(raw.sound, start, end, start)
    return Piece(words, end - start, columns, start - time_of(first, layout), cut)


def said_piece(said: Said, layout: GridLayout) -> Piece:
    """What a voice said as a piece."""
    return Piece(said.words, said.duration, said.columns, said.lead * layout.frame, None, said.audio)


def recorded(raw: RawTalk, replies: Sequence[Reply], column: int, until: float, layout: GridLayout) -> Branch:
    """What the model did from a column to a moment."""
    since = max(time_of(column, layout), 0.0)
    columns = None if raw.tokens is None else raw.tokens[:, column : max(column_from(until, layout), column + 1)]
    words = tuple(w for r in replies for w in r.words
                  if w.start < until and (r.span.start >= since or (w.start + w.end) / 2 >= since))  # fmt: skip
    spans = tuple(Span(max(r.span.start, since), min(r.span.end, until)) for r in replies
                  if r.span.end > since and r.span.start < until)  # fmt: skip
    cuts = () if raw.sound is None else tuple(Cut(raw.sound, s.start, s.end, s.start) for s in spans)
    return Branch(column, columns, words, cuts, (), spans, until, None)


def composed(
    raw: RawTalk, column: int, piece: Piece | None, at: float, user_until: float, until: float, layout: GridLayout
) -> Branch:
    """Agent silence with at most one piece in it, whose first sound is heard at `at` or just after.

    The user is heard as recorded to `user_until` and is silent then. `until` is the least the branch lasts.
    """
    first = column_from(at - (piece.lead if piece else 0.0), layout)
    first = max(first, column)
    start = time_of(first, layout) + (piece.lead if piece else 0.0)
    end = max(until, start + piece.duration if piece else until)
    columns = None
    if raw.tokens is not None:
        n = column_from(end, layout) - column
        if piece is not None and piece.columns is not None:
            n = max(n, first - column + piece.columns.shape[1])
        columns = _grid(raw.tokens, column, max(n, 1), user_until, layout)
        if piece is not None and piece.columns is not None:
            own = columns[:, first - column :][:, : piece.columns.shape[1]]
            own[layout.text] = piece.columns[0, : own.shape[1]]
            own[layout.agent] = piece.columns[1:, : own.shape[1]]
    if piece is None:
        return Branch(column, columns, (), (), (), (), end, user_until)
    words = tuple(Word(w.text, w.start + start, w.end + start) for w in piece.words)
    cuts = () if piece.cut is None else (Cut(piece.cut.path, piece.cut.start, piece.cut.end, start),)
    new = () if piece.audio is None else ((start, piece.audio),)
    return Branch(column, columns, words, cuts, new, (Span(start, start + piece.duration),), end, user_until)


def _grid(tokens: Tokens, column: int, n: int, user_until: float, layout: GridLayout) -> Tokens:
    """[streams, n] from a column on: the agent silent, the user as recorded to a moment and then silent."""
    out = np.empty((layout.streams, n), np.int16)
    out[layout.text] = layout.pad
    out[layout.agent] = np.array(layout.agent_silence, np.int16)[:, None]
    out[layout.user] = np.array(layout.user_silence, np.int16)[:, None]
    heard = math.ceil(user_until / layout.frame - EPS) - layout.user_lag
    known = tokens[layout.user, column : min(max(heard, column), column + n)]
    out[layout.user, : known.shape[1]] = known
    return out

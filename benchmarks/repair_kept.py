"""What the base does right, before a fault that is set into its place: so that what should stay is spoken of too.

Pairs about faults alone pull one way. Most of this base's faults at a user's end are silences, and who learns from
them answers every end: a pause, and a "stop" too. Two contrasts hold against it, each in talks without a fault:

    stays_silent   after it was interrupted, not an answer all over again
    holds          in a pause, not its answer too early
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from eval.metrics.timing.scene import Scene
from eval.pairs.branch import (
    Branch,
    column_from,
    composed,
    first_column,
    own_piece,
    recorded,
    said_piece,
    time_of,
)
from eval.pairs.chosen import AFTER, Parts
from eval.pairs.settings import PairSettings
from eval.pairs.source import Source
from eval.pairs.takes import flags_of
from eval.pairs.talks import Exclusion, RawTalk, Reply, lines_of, replies_of, scene_of
from model.align.data import TokenPair
from protocols.records import Event, EventKind

SOON = 0.2, 0.6  # seconds until somebody answers what is no question
EARLY = 0.3  # seconds before a turn's end at which its answer may begin


class _Right(NamedTuple):
    """A talk without a fault."""

    raw: RawTalk
    scene: Scene
    replies: tuple[Reply, ...]


def kept(source: Source, parts: Parts, settings: PairSettings, seed: int = 0) -> Iterator[TokenPair]:
    """Pairs of the talks of a source that have tokens and no fault; `seed`: of when the faults set in begin."""
    rng = np.random.default_rng(seed)
    for name in source.names():
        raw = source.read(name)
        if isinstance(raw, Exclusion) or raw.tokens is None or flags_of(raw, parts, settings) != ():
            continue
        scene = scene_of(raw, settings)
        talk = _Right(raw, scene, replies_of(raw, scene))
        for kind, make in (("stays_silent", _stays_silent), ("holds", _holds)):
            if made := make(talk, parts, float(rng.uniform(*SOON))):
                yield _pair(kind, talk, *made)


def _pair(kind: str, talk: _Right, chosen: Branch, rejected: Branch) -> TokenPair:
    assert talk.raw.tokens is not None
    assert chosen.columns is not None
    assert rejected.columns is not None
    context = talk.raw.tokens[:, : chosen.column]
    name = f"{kind}/{talk.raw.id}"
    return TokenPair(name, name, 0, kind, context, chosen.columns, rejected.columns)


def _stays_silent(talk: _Right, parts: Parts, wait: float) -> tuple[Branch, Branch] | None:
    raw, layout = talk.raw, parts.layout
    event = _first(talk, "interruption")
    if event is None or parts.answerer is None or any(r.span.end > event.end for r in talk.replies):
        return None
    text = parts.answerer.answer(lines_of(raw, talk.replies, event.start))
    said = None if text is None or parts.voice is None else parts.voice.reply(text)
    if said is None or said.columns is None:
        return None
    piece, at = said_piece(said, layout), event.end + wait
    column, until = column_from(at - piece.lead, layout), at + piece.duration + AFTER
    silent = composed(raw, column, None, at, event.end, until, layout)
    return silent, composed(raw, column, piece, at, event.end, until, layout)


def _holds(talk: _Right, parts: Parts, wait: float) -> tuple[Branch, Branch] | None:
    raw, layout = talk.raw, parts.layout
    turn, pause = _first(talk, "turn"), _first(talk, "pause")
    if turn is None or pause is None:
        return None
    reply = next((r for r in talk.replies if r.span.start >= turn.end - EARLY), None)
    if reply is None:
        return None
    before = [r for r in talk.replies if r.span.start < reply.span.start]  # such as a greeting
    piece = own_piece(raw, reply, layout, reply.span.duration)
    at = pause.start + wait
    column, until = column_from(at - piece.lead, layout), min(reply.span.end + AFTER, talk.scene.duration)
    if column >= first_column(raw, reply, layout) or any(r.span.end > time_of(column, layout) for r in before):
        return None
    early = composed(raw, column, piece, at, until, until, layout)
    return recorded(raw, talk.replies, column, until, layout), early


def _first(talk: _Right, kind: EventKind) -> Event | None:
    return next((event for _, event in talk.scene.of(kind)), None)

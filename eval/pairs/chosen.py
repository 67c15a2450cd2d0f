"""What the agent should have done at a site, beside what it did.

Content: the same place, better words. Cut-in and late answer: the reply it gave, moved to just after the user's end
(after a cut-in the answer it gave later, if it did). No answer: a written one. Talking on: silence soon after the
user's onset. Stopping for a backchannel: the rest of the reply at once. Where the words of such a reply are wrong too:
better words in the same place. Whatever has to be written and said anew comes from the parts handed in; what they do
not know makes no pair.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from eval.metrics.timing.scene import Scene
from eval.pairs.branch import (
    Branch,
    Piece,
    column_from,
    composed,
    first_column,
    own_piece,
    recorded,
    said_piece,
    time_of,
)
from eval.pairs.faults import Flag
from eval.pairs.settings import PairSettings
from eval.pairs.sites import Site
from eval.pairs.talks import RawTalk, Reason, Reply, lines_of, reply_at
from protocols.contracts import Critic, Verdict
from protocols.duplex import SAMPLE_RATE
from protocols.records import Word
from protocols.replies import Answerer, GridLayout, ReplyVoice, Rewriter, Said
from protocols.timeline import at as span_at
from protocols.timeline import first_from

AFTER = 0.8  # seconds either side goes on after its reply, because that it ends is part of it


class Parts(NamedTuple):
    """Who judges, writes and speaks; anything may be missing."""

    layout: GridLayout
    critic: Critic | None = None
    axes: tuple[str, ...] = ()
    rewriter: Rewriter | None = None
    answerer: Answerer | None = None
    voice: ReplyVoice | None = None
    recheck: bool = True  # the critic also judges what was chosen

    @property
    def unfinished(self) -> Callable[[str], bool] | None:
        """Whether a reply was broken off, if somebody knows."""
        if self.answerer is None:
            return None
        complete = self.answerer.complete
        return lambda said: complete(said) is not None


DURING = ("does_not_yield", "talks_over", "stops_for_backchannel")  # faults of a reply that has begun


class Unusable(Exception):
    """This site makes no pair."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


class Proposal(NamedTuple):
    site: Site
    chosen: Branch
    rejected: Branch
    strength: float | None
    writer: str | None  # who wrote the chosen words; None: the agent's own
    voice: str | None  # who said them; None: the agent itself


class Talk(NamedTuple):
    """A talk with everything a proposal looks at."""

    raw: RawTalk
    scene: Scene
    replies: tuple[Reply, ...]
    sites: tuple[Site, ...]


def propose(talk: Talk, site: Site, parts: Parts, settings: PairSettings) -> Proposal:
    """Both continuations of a site. Raises Unusable, or what a rewriter raises."""
    if site.content or site.timing not in DURING:  # what is wrong in its words is wrong before it is wrong in time
        return _replied(talk, site, parts, settings)
    return (_gone_on if site.timing == "stops_for_backchannel" else _hushed)(talk, site, parts, settings)


class _Wanted(NamedTuple):
    piece: Piece
    strength: float | None = None
    writer: str | None = None
    voice: str | None = None
    at: float | None = None  # where it was said, if it should stay there


def _replied(talk: Talk, site: Site, parts: Parts, settings: PairSettings) -> Proposal:
    raw, layout = talk.raw, parts.layout
    wanted = _reply(talk, site, parts, settings)
    if site.timing is None or site.timing in DURING:
        assert site.reply is not None
        user_until = site.reply.span.start
        at = _same_moment(raw, site.reply, wanted.piece, layout)
    else:
        assert site.event is not None
        user_until = site.event.end
        at = user_until + settings.reply_after if wanted.at is None else wanted.at
    column = column_from(at - wanted.piece.lead, layout)
    if site.reply is not None:
        column = min(column, first_column(raw, site.reply, layout))
    column = max(column, 0)
    chosen = composed(raw, column, wanted.piece, at, user_until, at + wanted.piece.duration + AFTER, layout)
    until = _rejected_until(talk, site, chosen, settings)
    return Proposal(site, chosen, recorded(raw, talk.replies, column, until, layout),
                    wanted.strength, wanted.writer, wanted.voice)  # fmt: skip


def _same_moment(raw: RawTalk, reply: Reply, piece: Piece, layout: GridLayout) -> float:
    """When a piece's first sound is heard if it takes a reply's place: in a grid, its text begins where the reply's
    did, so that nothing but words tells them apart; heard onsets lie a frame or two off."""
    if raw.tokens is None or piece.columns is None:
        return reply.span.start
    said = np.flatnonzero(piece.columns[layout.text] != layout.pad)
    first = first_column(raw, reply, layout) - (int(said[0]) if said.size else 0)
    return time_of(first, layout) + piece.lead


def _rejected_until(talk: Talk, site: Site, chosen: Branch, settings: PairSettings) -> float:
    """The reply and a little more; of a silence, as long as it lasts or as the chosen reply does."""
    duration = talk.scene.duration
    if site.reply is not None:
        return min(site.reply.span.end + AFTER, site.at + settings.longest_reply, duration)
    assert site.event is not None
    following = talk.scene.next_turn(site.event.end)
    spoken = first_from(talk.scene.speech, site.event.end + settings.silent_after)
    ends = [
        duration,
        chosen.until,
        *([following] if following is not None else []),
        *([spoken.start] if spoken else []),
    ]
    return max(min(ends), site.event.end + settings.silent_after)


def _reply(talk: Talk, site: Site, parts: Parts, settings: PairSettings) -> _Wanted:
    if site.content:
        return _rewritten(talk, site, parts)
    if site.timing == "silent":
        return _written(talk, site, parts)
    assert site.reply is not None
    assert site.event is not None
    if site.timing == "late":
        return _Wanted(own_piece(talk.raw, site.reply, parts.layout, settings.longest_reply))
    timing = settings.timing
    since, until = site.event.end - timing.early_reply, site.event.end + timing.max_wait
    flagged = {s.reply.span.start for s in talk.sites if s.reply is not None and s.content}
    later = next((r for r in talk.replies if since <= r.span.start <= until and r.span.start not in flagged), None)
    if later is not None:
        own = own_piece(talk.raw, later, parts.layout, settings.longest_reply)
        in_time = later.span.start - site.event.end <= settings.late_after
        return _Wanted(own, at=max(later.span.start, site.event.end) if in_time else None)
    if not _broken_off(talk, site.reply, settings):
        return _Wanted(own_piece(talk.raw, site.reply, parts.layout, settings.longest_reply))
    return _written(talk, site, parts)


def _broken_off(talk: Talk, reply: Reply, settings: PairSettings) -> bool:
    """The user spoke while the reply lasted, and it ended soon after they began: it may not be whole."""
    user = talk.raw.heard.spans("user")
    onset = first_from(user, reply.span.start)
    began = onset.start if onset is not None and onset.start < reply.span.end else None
    if span_at(user, reply.span.start) is not None:
        began = reply.span.start
    return began is not None and reply.span.end - began <= settings.timing.react_within


def _rewritten(talk: Talk, site: Site, parts: Parts) -> _Wanted:
    flag = max(site.content, key=lambda f: f.strength or 0.0)
    if parts.rewriter is None or site.reply is None or site.reply.turn is None:
        raise Unusable("no_reply_known", "nobody is there who could rewrite it")
    score = None if flag.strength is None else round(4 * (1 - flag.strength))
    verdict = Verdict(site.reply.turn, flag.axis, score, True, flag.note)
    better = parts.rewriter.rewrite(lines_of(talk.raw, talk.replies), verdict)
    if better.how_much_better == 0:
        raise Unusable("no_difference", "whoever rewrote it finds the new reply no better")
    piece = said_piece(_said(talk, better.improved, parts), parts.layout)
    assert parts.voice is not None
    return _Wanted(piece, better.how_much_better / 3, parts.rewriter.source, parts.voice.source)


def _written(talk: Talk, site: Site, parts: Parts) -> _Wanted:
    assert site.event is not None
    lines = [
        x for x in lines_of(talk.raw, talk.replies, site.event.end) if x.channel == "user" or x.end < site.event.start
    ]
    text = parts.answerer.answer(lines) if parts.answerer is not None else None
    if text is None or parts.answerer is None:
        raise Unusable("no_reply_known", "nobody knows what should have been said")
    said = _said(talk, text, parts)
    assert parts.voice is not None
    return _Wanted(said_piece(said, parts.layout), None, parts.answerer.source, parts.voice.source)


def _said(talk: Talk, text: str, parts: Parts) -> Said:
    said = parts.voice.reply(text) if parts.voice is not None else None
    if said is None:
        raise Unusable("no_reply_known", f"no voice can say {text!r}")
    if talk.raw.tokens is not None and said.columns is None:
        raise Unusable("no_reply_known", "the voice has no tokens of this system")
    return said


def _hushed(talk: Talk, site: Site, parts: Parts, settings: PairSettings) -> Proposal:
    assert site.event is not None
    raw, layout = talk.raw, parts.layout
    resumed = _resumed(talk, site.flags)
    spoken = resumed or site.reply
    if spoken is None:
        raise Unusable("no_reply_known", "the speech that should have ended was not found")
    if resumed is not None:
        column = first_column(raw, resumed, layout)
    else:
        column = column_from(site.event.start + settings.yield_after, layout)
    until = min(spoken.span.end, site.at + settings.longest_reply, talk.scene.duration)
    rejected = recorded(raw, talk.replies, max(column, 0), until, layout)
    chosen = composed(raw, max(column, 0), None, until, max(site.event.end, until), until, layout)
    return Proposal(site, chosen, rejected, None, None, None)


def _gone_on(talk: Talk, site: Site, parts: Parts, settings: PairSettings) -> Proposal:
    assert site.event is not None
    assert site.reply is not None
    raw, layout, stop = talk.raw, parts.layout, site.reply.span.end
    again = _resumed(talk, site.flags)
    if again is not None:
        wanted = _Wanted(own_piece(raw, again, layout, settings.longest_reply))
    else:
        wanted = _rest(talk, site, parts)
    column = max(column_from(stop - wanted.piece.lead, layout), 0)
    until = min(talk.scene.duration, stop + settings.silent_after if again is None else again.span.end + AFTER)
    chosen = composed(
        raw, column, wanted.piece, stop, max(site.event.end, stop), stop + wanted.piece.duration + AFTER, layout
    )
    rejected = recorded(raw, talk.replies, column, until, layout)
    return Proposal(site, chosen, rejected, None, wanted.writer, wanted.voice)


def _rest(talk: Talk, site: Site, parts: Parts) -> _Wanted:
    """What was not said of the reply, in the voice's whole rendering of it."""
    assert site.reply is not None
    text = parts.answerer.complete(site.reply.text) if parts.answerer is not None else None
    if text is None or parts.answerer is None:
        raise Unusable("no_reply_known", "nobody knows how the reply would have gone on")
    said, done = _said(talk, text, parts), len(site.reply.words)
    if len(said.words) <= done:
        raise Unusable("no_reply_known", "the reply was whole")
    assert parts.voice is not None
    return _Wanted(_from_word(said, done, parts.layout), None, parts.answerer.source, parts.voice.source)


def _from_word(said: Said, first: int, layout: GridLayout) -> Piece:
    start = said.words[first].start
    frame = int(start / layout.frame + 1e-6)
    columns = None if said.columns is None else said.columns[:, said.lead + frame :]
    audio = None if said.audio is None else said.audio[round(frame * layout.frame * SAMPLE_RATE) :]
    by = frame * layout.frame
    words = tuple(Word(w.text, w.start - by, w.end - by) for w in said.words[first:])
    return Piece(words, said.duration - by, columns, 0.0, None, audio)


def _resumed(talk: Talk, flags: Sequence[Flag]) -> Reply | None:
    """The speech with which the agent took up its thread, where a flag shows it."""
    for flag in flags:
        for shown in flag.evidence:
            if shown.label == "resumed":
                return reply_at(talk.replies, shown.start)
    return None

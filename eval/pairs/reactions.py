"""Replies and what the user says next, from talks with tokens: the data of learning from users without pairs.

A reply reaches from its first column to the user's next words, silence after it included. Those words are moved
behind the context, the agent silent in them, and what the user says during the reply stays where it was. A reply
after which nobody speaks gives nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

from eval.pairs.branch import column_at, composed, first_column, time_of
from eval.pairs.settings import PairSettings
from eval.pairs.talks import RawTalk, replies_of, scene_of
from protocols.replies import GridLayout, Tokens

LONGEST = 5.0  # seconds of a reply, and of the user's next words


class Reacted(NamedTuple):
    """Columns int16 [streams, frames]; `start`: the column the context begins at."""

    id: str
    talk: str
    start: int
    context: Tokens
    reply: Tokens
    after: Tokens


def reactions(raw: RawTalk, layout: GridLayout, settings: PairSettings, seconds: float) -> Iterator[Reacted]:
    """Of one talk; `seconds`: the longest context. Nothing of a talk without tokens."""
    if raw.tokens is None:
        return
    scene = scene_of(raw, settings)
    frames = round(seconds / layout.frame)
    for number, reply in enumerate(replies_of(raw, scene), 1):
        spoken = (e for e in raw.heard.talk.events if e.kind in ("turn", "interruption") and not e.missed)
        after = min((e for e in spoken if e.start > reply.span.start), key=lambda e: e.start, default=None)
        first = first_column(raw, reply, layout)
        if after is None or first < 1:
            continue
        last = min(column_at(min(after.start, reply.span.start + LONGEST), layout), raw.tokens.shape[1])
        column = max(round(after.start / layout.frame) - layout.user_lag, 0)
        end = min(after.end, after.start + LONGEST)
        if last <= first or column >= raw.tokens.shape[1]:
            continue
        until = end + (layout.agent_lag - layout.user_lag) * layout.frame
        heard = composed(raw, column, None, time_of(column, layout), end, until, layout).columns
        assert heard is not None
        start = max(first - frames, 0)
        context = raw.tokens[:, start:first]
        yield Reacted(f"{raw.id}#{number}", raw.id, start, context, raw.tokens[:, first:last], heard)

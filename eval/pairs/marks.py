"""People as a second source of flags: marks of moments, ratings of talks, and how far they agree with a critic.

A mark points at the reply that sounds at its moment, else at the last one before it. A rating is of a whole talk: it
flags a reply only where the talk has a single one, because nobody said which of several was bad. Agreement is read off
the talks that a person marked: there, a turn without a mark counts as one this person finds good.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from eval.pairs.content import bad, content_flag
from eval.pairs.faults import Flag
from eval.pairs.settings import PairSettings
from eval.pairs.talks import Mark, RawTalk, Reply, reply_at
from protocols.base import Value
from protocols.contracts import Verdict
from protocols.errors import StoreError
from protocols.records import Rating

ANY = "any"  # axis: whatever the fault
BEST = 4  # of scores and of ratings that can be used here, from 0


class MarkedTurn(Value, frozen=True):
    """A turn of the agent on which a person and a critic had their say."""

    talk: str
    turn: int
    axis: str
    rater: str
    person: bool  # finds it bad
    critic: bool
    source: str  # of the critic


def read_marks(path: Path) -> dict[str, tuple[Mark, ...]]:
    """Marks by talk, from lines of JSON; StoreError for a line that is none."""
    found: dict[str, tuple[Mark, ...]] = {}
    try:
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                mark = msgspec.json.decode(line, type=Mark)
            except msgspec.MsgspecError as error:
                raise StoreError(f"{path}, line {number} is not a mark: {error}") from error
            found[mark.talk] = (*found.get(mark.talk, ()), mark)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    return found


def marks_of_ratings(ratings: Iterable[Rating], settings: PairSettings) -> dict[str, tuple[Mark, ...]]:
    """What people rated, as marks of whole talks: bad under `rated_below`. Corrected and empty ratings are left out,
    and so are those whose answer is no whole number from 0 to 4."""
    every = list(ratings)
    corrected = {rating.amends for rating in every}
    found: dict[str, tuple[Mark, ...]] = {}
    for r in every:
        if r.id in corrected or len(r.talks) != 1 or not isinstance(r.answer, int) or not 0 <= r.answer <= BEST:
            continue
        mark = Mark(r.talks[0], None, r.question, r.rater, r.answer < settings.rated_below, r.answer)
        found[mark.talk] = (*found.get(mark.talk, ()), mark)
    return found


def mark_flags(raw: RawTalk, replies: Sequence[Reply]) -> list[Flag]:
    """Every reply a person calls bad."""
    found = []
    for mark in raw.marks:
        reply = marked_reply(mark, replies)
        if mark.problematic and reply is not None:
            strength = None if mark.score is None else 1 - mark.score / BEST
            found.append(content_flag(mark.axis, reply, f"rater:{mark.rater}", strength, "marked by a person"))
    return found


def marked_reply(mark: Mark, replies: Sequence[Reply]) -> Reply | None:
    """The reply that a mark is about; None where it does not say."""
    if mark.at is None:
        return replies[0] if len(replies) == 1 else None
    before = [r for r in replies if r.span.start <= mark.at]
    return reply_at(replies, mark.at) or (before[-1] if before else None)


def marked_turns(
    raw: RawTalk, replies: Sequence[Reply], verdicts: Sequence[Verdict], source: str, settings: PairSettings
) -> tuple[MarkedTurn, ...]:
    """Every turn of a marked talk, by rater and axis: what the person says of it, and what the critic does."""
    turns = [r.turn for r in replies if r.turn is not None]
    said = [(m, reply.turn) for m in raw.marks if (reply := marked_reply(m, replies)) is not None and reply.turn]
    flagged = {(v.axis, v.turn) for v in verdicts if bad(v, settings)}
    axes = list(dict.fromkeys(v.axis for v in verdicts))
    out = []
    for rater in dict.fromkeys(mark.rater for mark, _ in said):
        people = {(m.axis, turn) for m, turn in said if m.rater == rater and m.problematic}
        used = {m.axis for m, _ in said if m.rater == rater}
        for axis in (ANY, *(a for a in axes if a in used)):
            judged = {(a, t) for a, t in flagged if axis in (ANY, a)}
            marked = {(a, t) for a, t in people if axis in (ANY, a)}
            for turn in turns:
                person, critic = (any(t == turn for _, t in of) for of in (marked, judged))
                out.append(MarkedTurn(raw.id, turn, axis, rater, person, critic, source))
    return tuple(out) if verdicts else ()

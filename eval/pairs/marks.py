"""People as a second source of flags: marks of moments, ratings of talks, and how far they agree with who else judges.

A mark points at the reply that sounds at its moment, else at the last one before it. A rating is of a whole talk: it
flags a reply only where the talk has a single one, because nobody said which of several was bad. Marks of timing ("it
cut me off") flag nothing, times are the program's; they point at the last thing the user did, and stand beside what the
program flags there. Agreement is read off the talks that a person marked: there, what has no mark counts as something
this person finds good.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from eval.metrics.timing.scene import Scene
from eval.pairs.content import TIMING_AXES, bad, content_flag
from eval.pairs.faults import SOURCE, Flag
from eval.pairs.settings import PairSettings
from eval.pairs.talks import Mark, RawTalk, Reply, reply_at
from protocols.base import Value
from protocols.contracts import Verdict
from protocols.errors import StoreError
from protocols.records import Rating

ANY = "any"  # axis: whatever the fault
QUESTIONS = {"interruptions": "interruption", "responsiveness": "unresponsiveness"}  # whose answers are about timing
ACTS = ("turn", "interruption", "backchannel")  # of the user, that a mark of timing can be about
BEST = 4  # of scores and of ratings that can be used here, from 0


class MarkedTurn(Value, frozen=True):
    """Something on which a person and a judge had their say: a turn of the agent or, where `axis` is one of timing and
    the judge is the program, an event of the user's."""

    talk: str
    turn: int  # of the agent, from 1; or the event's number, from 0
    axis: str
    rater: str
    person: bool  # finds it bad
    critic: bool  # so does the judge
    source: str  # of the judge


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


def marks_of_ratings(
    ratings: Iterable[Rating], settings: PairSettings, levels: Mapping[str, tuple[int, int]] | None = None
) -> dict[str, tuple[Mark, ...]]:
    """What people rated, as marks of whole talks: bad under `rated_below` of 0 to 4. `levels`: lowest and highest
    answer by question, where others than these count for nothing; None: all are 0 to 4. Corrected and empty ratings are
    left out, and so are those whose answer is no level."""
    every = list(ratings)
    corrected = {rating.amends for rating in every}
    found: dict[str, tuple[Mark, ...]] = {}
    for r in every:
        low, high = (0, BEST) if levels is None else levels.get(r.question, (0, -1))
        if r.id in corrected or len(r.talks) != 1 or not isinstance(r.answer, int) or not low <= r.answer <= high:
            continue
        score = BEST * (r.answer - low) / (high - low)
        axis = QUESTIONS.get(r.question, r.question)
        mark = Mark(r.talks[0], None, axis, r.rater, score < settings.rated_below, round(score))
        found[mark.talk] = (*found.get(mark.talk, ()), mark)
    return found


def mark_flags(raw: RawTalk, replies: Sequence[Reply]) -> list[Flag]:
    """Every reply whose words a person calls bad."""
    found = []
    for mark in raw.marks:
        reply = marked_reply(mark, replies)
        if mark.problematic and reply is not None and mark.axis not in TIMING_AXES:
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
    for rater in dict.fromkeys(mark.rater for mark, _ in said if mark.axis not in TIMING_AXES):
        people = {(m.axis, turn) for m, turn in said if m.rater == rater and m.problematic}
        used = {m.axis for m, _ in said if m.rater == rater}
        for axis in (ANY, *(a for a in axes if a in used)):
            judged = {(a, t) for a, t in flagged if axis == a or (axis == ANY and a not in TIMING_AXES)}
            marked = {(a, t) for a, t in people if axis == a or (axis == ANY and a not in TIMING_AXES)}
            for turn in turns:
                person, critic = (any(t == turn for _, t in of) for of in (marked, judged))
                out.append(MarkedTurn(raw.id, turn, axis, rater, person, critic, source))
    return tuple(out) if verdicts else ()


def marked_events(raw: RawTalk, scene: Scene, flags: Sequence[Flag]) -> tuple[MarkedTurn, ...]:
    """Every act of the user's in a talk with marks of timing: what the person says of the agent's timing there, and
    what the program found."""
    acts = sorted((event.start, number) for number, event in scene.of(*ACTS) if not event.missed)
    marks = [m for m in raw.marks if m.axis in TIMING_AXES and m.at is not None]
    found = {(f.axis, f.event) for f in flags if f.fault is not None}
    out = []
    for rater, axis in dict.fromkeys((m.rater, m.axis) for m in marks):
        own = [m.at for m in marks if (m.rater, m.axis) == (rater, axis) and m.problematic]
        meant = {max(before)[1] for at in own if at is not None and (before := [a for a in acts if a[0] <= at])}
        out += [MarkedTurn(raw.id, n, axis, rater, n in meant, (axis, n) in found, SOURCE) for _, n in acts]
    return tuple(out)

"""Talks as the researcher sees them: a list to filter, and one talk with its picture, marks, ratings and flags.

A talk is asked for by its id, which must have the form of our ids and stand in this study's table; the sound's place
comes from the talk's own record. So nothing that a browser sends ever becomes a path. The picture is drawn by the
report's own timeline, on the clock of what was heard; the system's words are moved by the talk's median lag.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from analysis.report.timeline import Outcome, Timeline
from app.live.away import here
from app.live.deliver import View
from app.live.events import Text, read_events
from app.live.folder import LiveTalk, read_talk
from app.live.tokens import is_talk_id
from app.study.config import Study
from app.study.people import Judged, current
from app.study.quality import Finding
from app.study.raters import study_row
from app.study.second.replay import timeline_of
from app.study.second.words import is_written, read_words
from app.study.tables import RaterRow, RatingRow, TalkRow
from eval.talk import words_of
from protocols.duplex import TextPiece
from protocols.errors import InputError
from protocols.records import Evidence, Score, Transcript, Word

PAGE = 50  # talks on a page
GOOD_MARKS = ("nice",)
WIDE = 0.5  # seconds of a mark in the picture


class Wanted(NamedTuple):
    """What the list is narrowed to; "": everything."""

    arm: str = ""  # a code
    scenario: str = ""
    flag: str = ""  # a rule that the talk or its rater failed
    rater: str = ""


class Listed(NamedTuple):
    talk: TalkRow
    failed: tuple[str, ...]  # rules, of the talk or its rater
    counts: bool


def talks_of(session: Session, study: Study, people: Sequence[Judged], wanted: Wanted) -> list[Listed]:
    """Talks of the plan that were begun, newest first."""
    row = study_row(session, study.name)
    asked = (
        select(TalkRow).join(RaterRow, RaterRow.id == TalkRow.rater_id).options(selectinload(TalkRow.marks))
        .where(RaterRow.study_id == row.id, RaterRow.source != "preview", TalkRow.kind != "practice")
        .order_by(TalkRow.opened_at.desc(), TalkRow.id)
    )  # fmt: skip
    for column, value in ((TalkRow.arm, wanted.arm), (TalkRow.scenario, wanted.scenario),
                          (TalkRow.rater_id, wanted.rater)):  # fmt: skip
        asked = asked.where(column == value) if value else asked
    known = {one.rater.id: one for one in people}
    found = [_listed(talk, known.get(talk.rater_id)) for talk in session.scalars(asked)]
    return [one for one in found if not wanted.flag or wanted.flag in one.failed]


def _listed(talk: TalkRow, one: Judged | None) -> Listed:
    if one is None:
        return Listed(talk, (), False)
    failed = dict.fromkeys(f.rule for f in about(talk.id, one) if f.outcome == "fail")
    counts = talk.status == "done" and talk.kind == "talk" and one.uses(talk.id)
    return Listed(talk, tuple(failed), counts)


def about(talk: str, one: Judged) -> list[Finding]:
    """What the rules say of a talk and of its rater."""
    return [finding for finding in one.findings if finding.talk in (None, talk)]


def find_talk(session: Session, study: Study, talk_id: str) -> TalkRow:
    """A talk of this study. InputError for everything else."""
    row = session.get(TalkRow, talk_id) if is_talk_id(talk_id) else None
    rater = session.get(RaterRow, row.rater_id) if row is not None else None
    if row is None or rater is None or rater.study_id != study_row(session, study.name).id:
        raise InputError("there is no such talk in this study")
    return row


def ratings_of(session: Session, talk: TalkRow) -> list[RatingRow]:
    """What counts of what was said of a talk, alone or beside another."""
    found = session.scalars(
        select(RatingRow)
        .join(RaterRow, RaterRow.id == RatingRow.rater_id)
        .where((RatingRow.talk_id == talk.id) | (RatingRow.other_id == talk.id), RaterRow.source != "preview")
        .order_by(RatingRow.at)
    ).all()
    return current(found)


def sound_of(root: Path, talk: TalkRow, view: View) -> Path:
    """The file of a talk as heard or as modelled, both sides in it. InputError if there is none."""
    record = _record(root, talk)
    recording = None if record is None else record.heard if view == "heard" else record.modelled
    if recording is None:
        raise InputError("this talk has no recording")
    return here(root / talk.id / Path(recording.path).name)


def _record(root: Path, talk: TalkRow) -> LiveTalk | None:
    """The record of a talk that is over; None if it was never begun or goes on."""
    if not (root / talk.id / "talk.json").is_file():
        return None
    record = read_talk(root / talk.id)
    return None if record.status == "live" else record


def detail_of(root: Path, talk: TalkRow) -> str:
    """What a talk's reason leaves out, because no page of a rater may know it; "" for nothing."""
    record = _record(root, talk)
    return "" if record is None else record.detail


def picture(root: Path, talk: TalkRow, said: Mapping[str, str]) -> Timeline | None:
    """The talk as heard, ready to be drawn; `said`: words for kinds of marks. None if there is no recording."""
    record = _record(root, talk)
    if record is None or record.heard is None:
        return None
    folder = root / talk.id
    own = agent_words(folder, record)
    heard = read_words(folder) if is_written(folder) else None
    return timeline_of(
        sound_of(root, talk, "heard"), f"talk {talk.id}",
        (*(() if own is None else (own,)), *(heard.transcripts if heard else ())), heard.activity if heard else (),
        [_mark(talk.id, mark.kind, said.get(mark.kind, mark.kind), mark.at) for mark in talk.marks],
    )  # fmt: skip


def agent_words(folder: Path, record: LiveTalk) -> Transcript | None:
    """The system's own words, about where they were heard; None if it wrote none."""
    path, lag = folder / "events.jsonl", record.lag_p50 or 0.0
    log = read_events(path.read_bytes()) if path.exists() else []
    pieces = [(one.frame, TextPiece(one.text, one.start, one.end)) for one in log if isinstance(one, Text)]
    words = [Word(w.text, w.start + lag, w.end + lag) for w in words_of(pieces, record.frame)] if pieces else []
    return Transcript("agent", "model", tuple(words)) if words else None


def _mark(talk: str, kind: str, words: str, at: float) -> Outcome:
    worth: Literal["good", "bad"] = "good" if kind in GOOD_MARKS else "bad"
    shown = Evidence(words, "user", at, at + WIDE, "rater")
    return Outcome("mark", "", worth, Score(talk, 0, "mark", "mark/1", 1.0, words, evidence=(shown,)))

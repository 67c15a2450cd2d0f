"""One person's data, deleted for good: answers, marks, facts, links, panel ids, and the sound of every talk.

What stays is a row that says that somebody was there and was forgotten, so that the numbers of the study still add up.
Sound goes first: if that fails, the rows are still there and the command can be given again.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import delete, or_, select, text, update
from sqlalchemy.orm import Session

from app.live.away import delete as delete_away
from app.study.database import Database
from app.study.tables import FactRow, InvitationRow, MarkRow, RaterRow, RatingRow, ReviewRow, SubmissionRow, TalkRow
from protocols.errors import InputError, StoreError


class Forgotten(NamedTuple):
    """What there was of a person."""

    rater: str
    talks: int
    ratings: int


def forget(db: Database, talks: Path, rater_id: str) -> Forgotten:
    """Delete all of a rater. InputError if there is none, StoreError if the sound cannot be deleted."""
    with db.read() as session:
        rater = session.get(RaterRow, rater_id)
        if rater is None:
            raise InputError(f"there is no rater {rater_id}; participant numbers look like r-3f9a2c71")
        held = list(session.scalars(select(TalkRow.id).where(TalkRow.rater_id == rater_id)))
    for talk in held:
        _delete_sound(talks / talk)
    with db.write() as session:
        ratings = _delete_rows(session, rater_id, held)
    with db.engine.connect() as connection:
        if connection.dialect.name == "sqlite":  # nor in the write-ahead log
            connection.execute(text("ROLLBACK"))
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    return Forgotten(rater_id, len(held), ratings)


def _delete_sound(folder: Path) -> None:
    delete_away(folder)
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass  # never begun, or deleted before
    except OSError as error:
        raise StoreError(f"cannot delete {folder}: {error.strerror}; nothing else was deleted") from error


def _delete_rows(session: Session, rater_id: str, held: list[str]) -> int:
    """Also what others said about the rater's talks: it is about their voice."""
    about = or_(RatingRow.rater_id == rater_id, RatingRow.talk_id.in_(held), RatingRow.other_id.in_(held))
    found = session.scalars(select(RatingRow.id).where(about)).all()
    n = len(found)
    while found:  # corrections before what they correct
        corrected = select(RatingRow.amends).where(RatingRow.amends.is_not(None))
        session.execute(delete(RatingRow).where(RatingRow.id.in_(found), RatingRow.id.not_in(corrected)))
        found = session.scalars(select(RatingRow.id).where(about)).all()
    session.execute(delete(ReviewRow).where(or_(ReviewRow.rater_id == rater_id, ReviewRow.talk_id.in_(held))))
    session.execute(delete(MarkRow).where(or_(MarkRow.rater_id == rater_id, MarkRow.talk_id.in_(held))))
    for table in (TalkRow, SubmissionRow, FactRow):
        session.execute(delete(table).where(table.rater_id == rater_id))
    session.execute(delete(InvitationRow).where(InvitationRow.rater_id == rater_id))
    session.execute(
        update(RaterRow).where(RaterRow.id == rater_id).values(
            status="forgotten", holds=False, external_id=None, external_session=None, code=None
        )
    )  # fmt: skip
    return n

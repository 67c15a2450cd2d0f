"""Talks of raters: opened one at a time, settled once when they are over, void when they may not count.

A slot of a plan has attempts; at most one of them is open, and the first that is done counts. All functions work
inside the caller's transaction; sound and sockets are `app.live`'s.
"""

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.study.assignment import Plan
from app.study.config import Study
from app.study.journey import PRACTICE
from app.study.raters import now
from app.study.tables import ArmRow, MarkRow, RaterRow, StudyRow, TalkRow
from protocols.errors import InputError


class Moment(NamedTuple):
    """A mark on the page's clock."""

    kind: str
    sample: int
    at: float  # seconds


class Outcome(NamedTuple):
    """How a talk ended."""

    done: bool
    reason: str
    measured: dict[str, Any] | None = None
    marks: Sequence[Moment] = ()


def open_talk(session: Session, study: Study, rater: RaterRow, plan: Plan, slot: int) -> TalkRow:
    """The open attempt of a slot; a new one if there is none. `PRACTICE` is a slot too."""
    tried = session.scalars(
        select(TalkRow).where(TalkRow.rater_id == rater.id, TalkRow.slot == slot).order_by(TalkRow.attempt)
    ).all()
    if tried and tried[-1].status == "open":
        return tried[-1]
    if any(talk.status == "done" for talk in tried):
        raise InputError("this talk was held already")
    row = TalkRow(id=secrets.token_hex(12), rater_id=rater.id, slot=slot, attempt=len(tried), status="open",
                  opened_at=now(), **_what(session, study, rater, plan, slot))  # fmt: skip
    session.add(row)
    session.flush()
    return row


def _what(session: Session, study: Study, rater: RaterRow, plan: Plan, slot: int) -> dict[str, Any]:
    if slot == PRACTICE:
        if study.practice is None:
            raise InputError("this study has no practice")
        return {"kind": "practice", "arm": None, "scenario": None, "duration": study.practice.seconds}
    planned = plan.slots[slot]
    return {"kind": planned.kind, "arm": codes(session, rater.study_id)[planned.arm],
            "scenario": planned.scenario, "duration": planned.duration}  # fmt: skip


def codes(session: Session, study_id: int) -> dict[str, str]:
    """Arms' names -> their codes."""
    return {row.name: row.code for row in session.scalars(select(ArmRow).where(ArmRow.study_id == study_id))}


def settle(session: Session, study: Study, talk_id: str, outcome: Outcome) -> None:
    """Keep how a talk ended. The first ending counts; what was measured and marked is added whenever it comes."""
    row = session.get(TalkRow, talk_id, with_for_update=True)
    if row is None:
        return  # of somebody who was forgotten
    if row.status == "open":
        row.status, row.reason = _status(study, row, outcome)
        row.ended_at = now()
    if outcome.measured is not None and row.measured is None:
        row.measured = outcome.measured
        for moment in dict.fromkeys(outcome.marks):
            session.add(MarkRow(talk_id=row.id, rater_id=row.rater_id, **moment._asdict()))


def _status(study: Study, row: TalkRow, outcome: Outcome) -> tuple[str, str]:
    seconds = (outcome.measured or {}).get("seconds")
    least = study.least * row.duration
    if outcome.done and row.kind != "practice" and seconds is not None and seconds < least:
        return "voided", f"it lasted {seconds:.0f} s, and {least:.0f} s are needed to rate it"
    return ("done" if outcome.done else "voided"), outcome.reason


def void(session: Session, talk_id: str, reason: str) -> None:
    """A talk that may not count after all, for a reason of its rater's."""
    row = session.get(TalkRow, talk_id, with_for_update=True)
    if row is not None and row.status != "voided":
        row.status, row.reason, row.ended_at = "voided", reason, row.ended_at or now()


def unsettled(session: Session, study: Study) -> list[str]:
    """Talks that are open as far as the database knows."""
    return list(
        session.scalars(
            select(TalkRow.id)
            .join(RaterRow, RaterRow.id == TalkRow.rater_id)
            .join(StudyRow, StudyRow.id == RaterRow.study_id)
            .where(StudyRow.name == study.name, TalkRow.status == "open")
        )
    )

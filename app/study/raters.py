"""Who takes part: joining, coming back, leaving, and which cell of the design each holds.

The lowest cell that nobody holds and nobody has completed is given out. A rater who gives no sign of life for
`abandoned_after` loses the hold, not the plan: whoever comes back goes on as before, and takes the cell again if it is
still free. All functions work inside the caller's transaction.
"""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.study.assignment import Plan, Slot, plan_of
from app.study.config import Role, Study
from app.study.journey import Attempt, Progress
from app.study.tables import FactRow, InvitationRow, RaterRow, ReviewRow, StudyRow, SubmissionRow, TalkRow
from protocols.errors import InputError

Source = Literal["link", "invitation", "prolific", "mturk", "preview"]
Status = Literal["complete", "declined", "failed", "technical"]
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # of completion codes; none looks like another


class NotInvited(InputError):
    """A link that opens no session."""


class Panel(NamedTuple):
    """What a panel says of a person in the link it shows them."""

    source: Source
    person: str
    session: str


def now() -> str:
    """UTC, in milliseconds; sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def earlier(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def study_row(session: Session, name: str) -> StudyRow:
    row = session.scalar(select(StudyRow).where(StudyRow.name == name))
    if row is None:
        raise InputError(f"the database holds no study {name!r}")
    return row


def rater_of(session: Session, rater_id: str) -> RaterRow:
    row = session.get(RaterRow, rater_id)
    if row is None:
        raise NotInvited("this link is no longer known; please ask for a new one")
    return row


def join(
    session: Session, study: Study, source: Source, panel: Panel | None = None, role: Role = "talker"
) -> RaterRow:  # fmt: skip
    """A new rater, a talker with the next cell; or the one whom a panel has sent before."""
    row = session.scalar(select(StudyRow).where(StudyRow.name == study.name).with_for_update())
    if row is None:
        raise InputError(f"the database holds no study {study.name!r}")
    if panel is not None:
        known = session.scalar(
            select(RaterRow).where(
                RaterRow.study_id == row.id, RaterRow.source == panel.source, RaterRow.external_id == panel.person
            )
        )
        if known is not None:
            if known.external_session != panel.session:
                raise NotInvited("you have taken part in this study with another session already")
            if known.role != role:
                raise NotInvited("you have taken part in this study in another way already")
            return known
    if row.status != "open" and (role, row.status) != ("second", "closed"):
        raise NotInvited("this study takes nobody in at the moment")
    release_abandoned(session, row, study)
    preview = source == "preview"
    cell = None if role == "second" else 0 if preview else next_cell(session, row)
    rater = RaterRow(
        id="r-" + secrets.token_hex(4), study_id=row.id, source=source, status="active", role=role,
        external_id=panel.person if panel else None, external_session=panel.session if panel else None,
        cell=cell, holds=not preview, created_at=now(), seen_at=now(),
    )  # fmt: skip
    session.add(rater)
    session.flush()
    return rater


def invite(session: Session, study: Study, label: str | None = None) -> str:
    """A personal link's secret."""
    invitation = InvitationRow(
        id=secrets.token_hex(16), study_id=study_row(session, study.name).id, label=label, created_at=now()
    )
    session.add(invitation)
    return invitation.id


def invitations(session: Session, study: Study) -> dict[str, int]:
    """How many personal links were made, and how many were opened by somebody who consented."""
    made = select(func.count(), func.count(InvitationRow.rater_id)).where(
        InvitationRow.study_id == study_row(session, study.name).id
    )
    n, opened = session.execute(made).one()
    return {"made": n, "opened": opened}


def accept(session: Session, study: Study, invitation_id: str, role: Role = "talker") -> RaterRow:
    """The rater whom a personal link belongs to; at its first use a new one."""
    found = session.get(InvitationRow, invitation_id, with_for_update=True)
    if found is None:
        raise NotInvited("this link is not one of ours")
    if found.rater_id is None:
        found.rater_id = join(session, study, "invitation", role=role).id
    return rater_of(session, found.rater_id)


def owner_of(session: Session, invitation_id: str | None) -> str | None:
    """The rater a personal link belongs to."""
    found = session.get(InvitationRow, invitation_id) if invitation_id else None
    return found.rater_id if found else None


def next_cell(session: Session, row: StudyRow) -> int:
    """The lowest cell that is neither held nor complete."""
    taken = set(
        session.scalars(
            select(RaterRow.cell).where(
                RaterRow.study_id == row.id,
                RaterRow.source != "preview",
                or_(RaterRow.holds, RaterRow.status == "complete"),
            )
        )
    )
    return next(cell for cell in range(len(taken) + 1) if cell not in taken)


def release_abandoned(session: Session, row: StudyRow, study: Study) -> int:
    """Free the cells of those who gave no sign of life; how many."""
    gone = session.scalars(
        select(RaterRow).where(
            RaterRow.study_id == row.id,
            RaterRow.holds,
            RaterRow.status == "active",
            RaterRow.seen_at < earlier(study.abandoned_after),
        )
    ).all()
    for rater in gone:
        rater.holds = False
    session.flush()
    return len(gone)


def touch(session: Session, rater: RaterRow) -> None:
    """A sign of life; takes a lost cell back while it is free, and finished talks in any case."""
    rater.seen_at = now()
    if rater.status != "active" or rater.source == "preview":
        return
    if rater.role == "second":
        rater.holds = True
    elif not rater.holds:
        others = select(RaterRow.id).where(
            RaterRow.study_id == rater.study_id, RaterRow.cell == rater.cell, RaterRow.id != rater.id,
            or_(RaterRow.holds, RaterRow.status == "complete"),
        )  # fmt: skip
        rater.holds = session.scalar(others) is None


def leave(session: Session, rater: RaterRow, status: Status) -> None:
    """The end of a rater's way. Only who has completed keeps the cell; they and those whom the technique failed have a
    code."""
    if rater.status != "active":
        return
    rater.status = status
    rater.holds = rater.holds and status == "complete"
    if status in ("complete", "technical"):
        rater.code = "".join(secrets.choice(LETTERS) for _ in range(8))


def note(session: Session, rater: RaterRow, kind: str, **data: object) -> None:
    """Keep a fact of the rater's way."""
    session.add(FactRow(rater_id=rater.id, kind=kind, data=data, at=now()))


def plan_for(study: Study, rater: RaterRow) -> Plan:
    """The talks a rater is to hold, or the finished ones that were given to a rater of the second stage."""
    if rater.cell is not None:
        return plan_of(study, rater.cell)
    given = [Slot("review", "", one.talk.scenario or "", one.talk.duration, k) for k, one in enumerate(rater.reviews)]
    return Plan(tuple(given), "second")


def progress_of(session: Session, rater: RaterRow) -> Progress:
    """What a rater has done so far."""
    facts = session.scalars(select(FactRow).where(FactRow.rater_id == rater.id).order_by(FactRow.id)).all()
    talks = session.scalars(
        select(TalkRow).where(TalkRow.rater_id == rater.id).order_by(TalkRow.slot, TalkRow.attempt)
    ).all()
    given = session.scalars(select(ReviewRow).where(ReviewRow.rater_id == rater.id).order_by(ReviewRow.position)).all()
    reviews = [Attempt(one.talk_id, k, "done") for k, one in enumerate(given)]
    forms = session.scalars(select(SubmissionRow.form).where(SubmissionRow.rater_id == rater.id)).all()
    consents = [fact.data["given"] for fact in facts if fact.kind == "consent"]
    return Progress(
        consent=consents[-1] if consents else None,
        devices=any(fact.data["enough"] for fact in facts if fact.kind == "devices"),
        tries=tuple(fact.data["right"] for fact in facts if fact.kind == "comprehension"),
        attempts=(*(Attempt(talk.id, talk.slot, talk.status, talk.reason) for talk in talks), *reviews),
        forms=frozenset(forms),
    )

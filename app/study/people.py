"""A study's raters read back whole: for export, for the rules of quality, for the researcher's pages."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, selectinload

from app.study.config import Flag, Role, Study
from app.study.quality import Finding, Person, findings
from app.study.raters import study_row
from app.study.tables import ArmRow, FactRow, RaterRow, RatingRow, ReviewRow, SubmissionRow, TalkRow


class Judged(NamedTuple):
    """A rater, their work, and what the rules say of it."""

    rater: RaterRow
    person: Person
    findings: tuple[Finding, ...]

    def has(self, flag: Flag) -> bool:
        """Whether the rater keeps a flag; who is not through has neither yet."""
        lost = any(one.loses(flag) for one in self.findings if one.talk is None)
        return self.rater.status in ("complete", "technical") and not lost

    def uses(self, talk: str) -> bool:
        """Whether a talk's ratings are analysed."""
        return self.has("use") and not any(one.loses("use") for one in self.findings if one.talk == talk)


def arm_names(session: Session, study: Study) -> dict[str, str]:
    """Codes -> names."""
    row = study_row(session, study.name)
    return {arm.code: arm.name for arm in session.scalars(select(ArmRow).where(ArmRow.study_id == row.id))}


def judged(session: Session, study: Study, role: Role = "talker") -> list[Judged]:
    """Everybody of a role, previews and the forgotten left out, in order of joining."""
    row = study_row(session, study.name)
    people = session.scalars(
        select(RaterRow)
        .where(RaterRow.study_id == row.id, RaterRow.role == role, RaterRow.source != "preview",
               RaterRow.status != "forgotten")
        .order_by(RaterRow.created_at, RaterRow.id)
    ).all()  # fmt: skip
    return [_judged(session, study, rater) for rater in people]


def _judged(session: Session, study: Study, rater: RaterRow) -> Judged:
    talks = session.scalars(_talks(rater).options(selectinload(TalkRow.marks))).all()
    given = session.scalars(select(RatingRow).where(RatingRow.rater_id == rater.id).order_by(RatingRow.at)).all()
    forms = session.scalars(
        select(SubmissionRow).where(SubmissionRow.rater_id == rater.id).order_by(SubmissionRow.id)
    ).all()
    facts = session.scalars(select(FactRow).where(FactRow.rater_id == rater.id).order_by(FactRow.id)).all()
    role: Role = "second" if rater.role == "second" else "talker"
    person = Person(rater.id, talks, current(given), forms, facts, role)
    return Judged(rater, person, tuple(findings(study, person)))


def _talks(rater: RaterRow) -> Select[TalkRow]:
    """The talks a rater has held, or has rated without having been in them; in order."""
    if rater.role == "second":
        rated = select(RatingRow.talk_id).where(RatingRow.rater_id == rater.id)
        return (
            select(TalkRow).join(ReviewRow, ReviewRow.talk_id == TalkRow.id)
            .where(ReviewRow.rater_id == rater.id, TalkRow.id.in_(rated)).order_by(ReviewRow.position)
        )  # fmt: skip
    return (
        select(TalkRow).where(TalkRow.rater_id == rater.id, TalkRow.status == "done", TalkRow.kind != "practice")
        .order_by(TalkRow.slot)
    )  # fmt: skip


def current(ratings: Iterable[RatingRow]) -> list[RatingRow]:
    """Those that no later one amends."""
    found = list(ratings)
    amended = {rating.amends for rating in found}
    return [rating for rating in found if rating.id not in amended]

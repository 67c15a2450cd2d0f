"""A study's raters read back whole: for export, for the rules of quality, for the researcher's pages."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from app.study.config import Flag, Study
from app.study.quality import Finding, Person, findings
from app.study.raters import study_row
from app.study.tables import ArmRow, FactRow, RaterRow, RatingRow, SubmissionRow, TalkRow


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


def judged(session: Session, study: Study) -> list[Judged]:
    """Every talker of a study, previews and the forgotten left out, in order of joining."""
    row = study_row(session, study.name)
    people = session.scalars(
        select(RaterRow)
        .where(RaterRow.study_id == row.id, RaterRow.role == "talker", RaterRow.source != "preview",
               RaterRow.status != "forgotten")
        .order_by(RaterRow.created_at, RaterRow.id)
    ).all()  # fmt: skip
    return [_judged(session, study, rater) for rater in people]


def _judged(session: Session, study: Study, rater: RaterRow) -> Judged:
    held = session.scalars(
        select(TalkRow).where(TalkRow.rater_id == rater.id, TalkRow.status == "done", TalkRow.kind != "practice")
        .order_by(TalkRow.slot).options(selectinload(TalkRow.marks))
    ).all()  # fmt: skip
    given = session.scalars(select(RatingRow).where(RatingRow.rater_id == rater.id).order_by(RatingRow.at)).all()
    forms = session.scalars(
        select(SubmissionRow).where(SubmissionRow.rater_id == rater.id).order_by(SubmissionRow.id)
    ).all()
    facts = session.scalars(select(FactRow).where(FactRow.rater_id == rater.id).order_by(FactRow.id)).all()
    person = Person(rater.id, held, current(given), forms, facts)
    return Judged(rater, person, tuple(findings(study, person)))


def current(ratings: Iterable[RatingRow]) -> list[RatingRow]:
    """Those that no later one amends."""
    found = list(ratings)
    amended = {rating.amends for rating in found}
    return [rating for rating in found if rating.id not in amended]

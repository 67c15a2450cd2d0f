"""How far people have come, and where they left: the funnel of a study.

Each count is of people who have passed a point, whatever became of them, so it never rises from one row to the next
(but for the invitations, which the study's open link needs none of). Those who left are counted at the step that was
theirs; who gave no sign of life for `abandoned_after` has left too.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.study import raters
from app.study.config import Study
from app.study.journey import PRACTICE, Progress, Step, next_step
from app.study.tables import InvitationRow, RaterRow


class Way(NamedTuple):
    """How far one person has come."""

    progress: Progress
    step: Step
    status: str
    idle: bool  # no sign of life for too long


class Funnel(NamedTuple):
    invited: int
    passed: list[tuple[str, int]]  # from the first point to the last
    left: list[tuple[str, int]]  # where, most first
    under_way: int
    forgotten: int

    @property
    def most(self) -> int:
        return max([n for _, n in self.passed] + [1])


def funnel_of(session: Session, study: Study) -> Funnel:
    """The funnel now; previews are left out."""
    row = raters.study_row(session, study.name)
    people = session.scalars(
        select(RaterRow).where(RaterRow.study_id == row.id, RaterRow.source != "preview", RaterRow.role == "talker")
    ).all()
    since = raters.earlier(study.abandoned_after)
    ways = [_way(session, study, one, one.seen_at < since) for one in people if one.status != "forgotten"]
    invited = session.scalar(
        select(func.count()).select_from(InvitationRow).where(InvitationRow.study_id == row.id)
    )  # fmt: skip
    left = Counter(where(study, way) for way in ways if has_left(way))
    going = sum(way.status == "active" and not way.idle for way in ways)
    return Funnel(invited or 0, passed(study, ways), left.most_common(), going, len(people) - len(ways))


def _way(session: Session, study: Study, rater: RaterRow, idle: bool) -> Way:
    progress = raters.progress_of(session, rater)
    return Way(progress, next_step(study, raters.plan_for(study, rater), progress), rater.status, idle)


def passed(study: Study, ways: Sequence[Way]) -> list[tuple[str, int]]:
    """How many people have passed each point that the study has."""
    talks = study.rounds * (2 if study.design == "paired" else 1) + (study.trap is not None)
    points = [("came in", [True for _ in ways])]
    points.append(("consented", [way.progress.consent is True for way in ways]))
    points.append(("devices checked", [way.progress.devices for way in ways]))
    if study.comprehension:
        points.append(("understood the task", [any(way.progress.tries) for way in ways]))
    if study.practice is not None:
        points.append(("practised", [way.progress.done(PRACTICE) is not None for way in ways]))
    for slot in range(talks):
        points.append((f"held talk {slot + 1}", [way.progress.done(slot) is not None for way in ways]))
    points.append(("finished", [way.status == "complete" for way in ways]))
    return [(name, sum(held)) for name, held in points]


def has_left(way: Way) -> bool:
    return way.status in ("declined", "failed", "technical") or (way.status == "active" and way.idle)


def where(study: Study, way: Way) -> str:
    """The point that somebody did not pass, and why if it is known."""
    why = {"declined": "did not consent", "failed": "did not understand the task",
           "technical": "the technique failed"}.get(way.status)  # fmt: skip
    step = way.step
    at = f"{step.kind} {step.slot + 1}" if step.kind in ("talk", "rate") and step.slot is not None else step.kind
    if why is None:
        return f"went away at: {at}"
    return f"{why} (talk {step.slot + 1})" if way.status == "technical" and step.slot is not None else why

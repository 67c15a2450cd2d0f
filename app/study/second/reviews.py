"""Finished talks given to raters of the second stage, in the database.

Whoever joins gets all of their talks at once. What somebody was given and did not rate goes to others once they have
left. All functions work inside the caller's transaction.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Exists, func, select
from sqlalchemy.orm import Session

from app.study.config import Study
from app.study.people import judged
from app.study.raters import NotInvited, study_row
from app.study.second.choose import Finished, choose, mode_of
from app.study.second.words import is_written
from app.study.tables import RaterRow, RatingRow, ReviewRow, TalkRow


class Standing(NamedTuple):
    """How far the second stage has come."""

    talks: int  # that count
    unwritten: list[str]  # of them, words not written down yet: given to nobody
    rated: dict[int, int]  # raters who have rated a talk, in all modes -> talks
    wanted: int  # raters of a talk, in all modes


def give(session: Session, study: Study, rater: RaterRow, root: Path) -> None:
    """Choose a new rater's talks. NotInvited if there are none to be rated now. A preview is given the talks
    of the first rater of all, and takes them from nobody. `root`: the folder of the talks."""
    stage = study.second_stage
    if stage is None:
        raise NotInvited("this study has no talks to rate")
    preview = rater.source == "preview"
    number = 0 if preview else _joined_before(session, rater)
    taken: Counter[tuple[str, str]] = Counter() if preview else _taken(session, rater.study_id)
    finished = [
        Finished(talk.id, talk.arm or "", {mode: taken[talk.id, mode] for mode in stage.modes})
        for talk in counted(session, study)
        if is_written(root / talk.id)
    ]
    chosen = choose(stage, study.seed, finished, number)
    if not chosen:
        raise NotInvited("there is no talk to rate at the moment; please come back later")
    mode = mode_of(stage, number)
    session.add_all(ReviewRow(rater_id=rater.id, position=k, talk_id=talk, mode=mode) for k, talk in enumerate(chosen))
    session.flush()


def _joined_before(session: Session, rater: RaterRow) -> int:
    """Raters of the second stage there are without this one."""
    found = session.scalar(
        select(func.count()).select_from(RaterRow)
        .where(RaterRow.study_id == rater.study_id, RaterRow.role == "second", RaterRow.source != "preview",
               RaterRow.id != rater.id)
    )  # fmt: skip
    return found or 0


def counted(session: Session, study: Study) -> list[TalkRow]:
    """Talks of the plan whose talker's ratings are analysed, in the order of joining."""
    return [
        talk for one in judged(session, study) for talk in one.person.talks if talk.kind == "talk" and one.uses(talk.id)
    ]


def standing(session: Session, study: Study, root: Path) -> Standing | None:
    """Where the second stage stands; None if the study has none."""
    if study.second_stage is None:
        return None
    talks = counted(session, study)
    rated = Counter(
        session.scalars(
            select(ReviewRow.talk_id).join(RaterRow, RaterRow.id == ReviewRow.rater_id)
            .where(RaterRow.study_id == study_row(session, study.name).id, RaterRow.source != "preview", _is_rated())
        )
    )  # fmt: skip
    spread = Counter(rated[talk.id] for talk in talks)
    unwritten = [talk.id for talk in talks if not is_written(root / talk.id)]
    wanted = study.second_stage.per_talk * len(study.second_stage.modes)
    return Standing(len(talks), unwritten, dict(sorted(spread.items())), wanted)


def _taken(session: Session, study_id: int) -> Counter[tuple[str, str]]:
    """Raters of each talk in each mode: who has rated it, and who still will."""
    found = session.execute(
        select(ReviewRow.talk_id, ReviewRow.mode).join(RaterRow, RaterRow.id == ReviewRow.rater_id)
        .where(RaterRow.study_id == study_id, RaterRow.source != "preview", RaterRow.holds | _is_rated())
    )  # fmt: skip
    return Counter((row.talk_id, row.mode) for row in found)


def _is_rated() -> Exists:
    """That the rater of a review has answered about its talk."""
    return select(RatingRow.id).where(
        RatingRow.rater_id == ReviewRow.rater_id, RatingRow.talk_id == ReviewRow.talk_id
    ).exists()  # fmt: skip

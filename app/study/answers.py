"""Forms that raters send: read strictly, stored once, never changed.

A submission has the page's own key, so one that was sent again because its answer got lost is the same submission.
What comes for a form that is already there is not stored a second time. All or nothing: the ratings of a form and its
submission are one transaction.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.study.config import Role, Study
from app.study.raters import now
from app.study.scales import Question
from app.study.tables import RaterRow, RatingRow, SubmissionRow
from protocols.errors import InputError

CANNOT_JUDGE = "cannot judge"
NO_IDEA = "does not know"
PREFERENCE = "preference"
INSTRUCTION = "instruction"
GUESS = "guess"
LONGEST = 4_000  # letters of a comment
Stage = Literal["talker", "sound", "transcript"]
STRENGTHS = range(-3, 4)  # the first talk is much better ... the second is


class Answer(NamedTuple):
    """One answer, not yet stored."""

    question: str
    answer: int | None
    reason: str | None = None  # why there is none
    choices: list[str] | None = None


class Form(NamedTuple):
    """What a page sends with its answers."""

    name: str
    key: str
    seconds: float | None = None
    comment: str | None = None


class Incomplete(InputError):
    """A form that lacks an answer; names the questions."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(f"not answered: {', '.join(missing)}")
        self.missing = tuple(missing)


def asked(study: Study, scenario: str | None, role: Role = "talker") -> list[Question]:
    """The questions about a talk under a scenario."""
    unsafe = any(one.unsafe for one in study.scenarios if one.id == scenario)
    return [question for question in study.questions_for(role) if unsafe or not question.unsafe_only]


def instruction(questions: Sequence[Question]) -> Question:
    """The item whose right answer stands in its text; its scale is that of the first question."""
    levels = questions[0].levels
    return Question(id=INSTRUCTION, levels=levels, text=f"To show that you read each question, please choose "
                    f"“{levels[told(levels)]}” here.")  # fmt: skip


def told(levels: Mapping[int, str]) -> int:
    """The level that the instruction asks for: the second lowest, which nobody chooses by habit."""
    return sorted(levels)[1] if len(levels) > 2 else min(levels)


def read_levels(questions: Iterable[Question], data: Mapping[str, str]) -> list[Answer]:
    """An answer to every question. Incomplete if one is missing, InputError for what no page of ours sends."""
    found, missing = [], []
    for question in questions:
        given = data.get(question.id, "")
        if given == "":
            missing.append(question.id)
        elif given == "none":
            found.append(Answer(question.id, None, CANNOT_JUDGE))
        elif given.lstrip("-").isdecimal() and int(given) in question.levels:
            found.append(Answer(question.id, int(given)))
        else:
            raise InputError(f"{given[:40]!r} is no answer to {question.id}")
    if missing:
        raise Incomplete(missing)
    return found


def read_preference(study: Study, data: Mapping[str, str], reasons: Iterable[str]) -> list[Answer]:
    """How much better the second talk was, and why."""
    given = data.get(PREFERENCE, "")
    if given == "":
        raise Incomplete([PREFERENCE])
    if given not in map(str, STRENGTHS):
        raise InputError(f"{given[:40]!r} is no preference")
    return [Answer(PREFERENCE, int(given), None, [reason for reason in study.reasons if reason in set(reasons)])]


def read_guess(data: Mapping[str, str]) -> list[Answer]:
    """Which talk (1, 2) the rater thinks was meant; after a single talk 1 is yes and 2 is no."""
    given = data.get(GUESS, "")
    if given == "none":
        return [Answer(GUESS, None, NO_IDEA)]
    if given not in ("1", "2"):
        raise Incomplete([GUESS])
    return [Answer(GUESS, int(given))]


def submit(
    session: Session, rater: RaterRow, form: Form, talks: Sequence[str], answers: Iterable[Answer],
    stage: Stage = "talker",
) -> bool:  # fmt: skip
    """Store a form; False if it is there already, and nothing is stored. `stage`: how the rater met the talks."""
    known = session.scalar(
        select(SubmissionRow).where(SubmissionRow.rater_id == rater.id, SubmissionRow.form == form.name)
    )
    if known is not None:
        return False
    submission = SubmissionRow(
        rater_id=rater.id, form=form.name, key=form.key, seconds=form.seconds, comment=form.comment or None, at=now()
    )
    session.add(submission)
    session.flush()
    for one in answers:
        session.add(_row(rater, talks, one, submission.id, stage))
    session.flush()
    return True


def amend(session: Session, old: RatingRow, answer: int | None, reason: str | None = None) -> RatingRow:
    """A correction: a new rating that names the old one. InputError if that one was corrected before."""
    if session.scalar(select(RatingRow.id).where(RatingRow.amends == old.id)) is not None:
        raise InputError(f"rating {old.id} was amended before; amend its newest row")
    row = RatingRow(
        id=secrets.token_hex(12), rater_id=old.rater_id, submission_id=None, stage=old.stage, talk_id=old.talk_id,
        other_id=old.other_id, question=old.question, answer=answer, reason=reason, choices=old.choices,
        amends=old.id, at=now(),
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def _row(rater: RaterRow, talks: Sequence[str], one: Answer, submission: int, stage: Stage) -> RatingRow:
    return RatingRow(
        id=secrets.token_hex(12), rater_id=rater.id, submission_id=submission, stage=stage, talk_id=talks[0],
        other_id=talks[1] if len(talks) > 1 else None, question=one.question, answer=one.answer, reason=one.reason,
        choices=one.choices, at=now(),
    )  # fmt: skip

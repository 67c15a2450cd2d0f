"""The tables of a study's database, typed. What may be done with them is in the modules that own each step.

Ratings, submissions and facts are only ever added: the database itself refuses to change a rating (a trigger of the
first migration), and a correction is a new row that names the old one. Times are UTC in ISO 8601 with milliseconds, so
they sort as text. Sound lies in the folders of `app.live`; a talk's id is its folder's name.

A change here needs a migration in `migrations/versions`; a test compares the two.
"""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, MetaData, String, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMES = {
    "ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
}  # fmt: skip


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {dict[str, Any]: JSON, str: String(200)}


class StudyRow(Base):
    """A study as it began."""

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str]
    preregistered: Mapped[str | None]
    config: Mapped[dict[str, Any]]  # resolved, defaults included
    status: Mapped[str] = mapped_column(default="open")  # open, paused, closed
    password: Mapped[str | None]  # the researcher's, argon2
    created_at: Mapped[str]


class ArmRow(Base):
    """An arm and the code that stands for it wherever a name could be seen."""

    __tablename__ = "arms"
    __table_args__ = (UniqueConstraint("study_id", "name"),)

    code: Mapped[str] = mapped_column(String(12), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    name: Mapped[str]
    system: Mapped[str]
    version: Mapped[str | None]


class InvitationRow(Base):
    """A personal link: it opens one rater's session, and no second one."""

    __tablename__ = "invitations"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    label: Mapped[str | None]
    rater_id: Mapped[str | None] = mapped_column(ForeignKey("raters.id"))
    created_at: Mapped[str]


class RaterRow(Base):
    """One person in one study, by pseudonym."""

    __tablename__ = "raters"
    __table_args__ = (
        Index("ix_raters_cell_held", "study_id", "cell", unique=True, sqlite_where=text("holds"),
              postgresql_where=text("holds")),
        UniqueConstraint("study_id", "source", "external_id"),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(16), primary_key=True)  # such as "r-3f9a2c71"
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    role: Mapped[str] = mapped_column(default="talker")  # talker, second (reviews talks of others)
    source: Mapped[str]  # link, invitation, prolific, mturk, preview
    external_id: Mapped[str | None]  # of the panel; personal data
    external_session: Mapped[str | None]
    status: Mapped[str] = mapped_column(default="active")  # active, complete, declined, failed, technical, forgotten
    cell: Mapped[int | None]  # whose plan the rater has; None: no talker
    holds: Mapped[bool]  # counts for the cell; false: given to somebody else, or nobody's
    code: Mapped[str | None]  # of completion
    created_at: Mapped[str]
    seen_at: Mapped[str]

    facts: Mapped[list["FactRow"]] = relationship(back_populates="rater", order_by="FactRow.id")
    talks: Mapped[list["TalkRow"]] = relationship(back_populates="rater", order_by="TalkRow.opened_at")
    ratings: Mapped[list["RatingRow"]] = relationship(back_populates="rater", order_by="RatingRow.at")
    reviews: Mapped[list["ReviewRow"]] = relationship(back_populates="rater", order_by="ReviewRow.position")


class FactRow(Base):
    """Something that happened on a rater's way: consent, devices, comprehension, problem, played."""

    __tablename__ = "facts"

    id: Mapped[int] = mapped_column(primary_key=True)
    rater_id: Mapped[str] = mapped_column(ForeignKey("raters.id"), index=True)
    kind: Mapped[str]
    data: Mapped[dict[str, Any]]
    at: Mapped[str]

    rater: Mapped[RaterRow] = relationship(back_populates="facts")


class TalkRow(Base):
    """One attempt at a talk of a rater's plan. `id` names its folder."""

    __tablename__ = "talks"
    __table_args__ = (UniqueConstraint("rater_id", "slot", "attempt"),)

    id: Mapped[str] = mapped_column(String(24), primary_key=True)
    rater_id: Mapped[str] = mapped_column(ForeignKey("raters.id"), index=True)
    slot: Mapped[int]  # of the plan; -1: practice
    attempt: Mapped[int]  # from 0
    kind: Mapped[str]  # talk, trap, practice
    arm: Mapped[str | None] = mapped_column(ForeignKey("arms.code"))  # None: practice
    scenario: Mapped[str | None]
    duration: Mapped[float]  # planned seconds
    status: Mapped[str] = mapped_column(default="open")  # open, done, voided
    reason: Mapped[str | None]
    opened_at: Mapped[str]
    ended_at: Mapped[str | None]
    measured: Mapped[dict[str, Any] | None]  # seconds, speech, lag_p50, lag_max, echo_db ...; filled when it is closed

    rater: Mapped[RaterRow] = relationship(back_populates="talks")
    marks: Mapped[list["MarkRow"]] = relationship(back_populates="talk", order_by="MarkRow.at")


class ReviewRow(Base):
    """One finished talk in the plan of a rater of the second stage."""

    __tablename__ = "reviews"
    __table_args__ = (UniqueConstraint("rater_id", "position"), UniqueConstraint("talk_id", "rater_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    rater_id: Mapped[str] = mapped_column(ForeignKey("raters.id"))
    position: Mapped[int]
    talk_id: Mapped[str] = mapped_column(ForeignKey("talks.id"))
    mode: Mapped[str]  # sound, transcript

    rater: Mapped[RaterRow] = relationship(back_populates="reviews")
    talk: Mapped[TalkRow] = relationship()


class MarkRow(Base):
    """A moment somebody marked, in seconds of the recording as heard."""

    __tablename__ = "marks"
    __table_args__ = (UniqueConstraint("talk_id", "rater_id", "kind", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    talk_id: Mapped[str] = mapped_column(ForeignKey("talks.id"), index=True)
    rater_id: Mapped[str] = mapped_column(ForeignKey("raters.id"))
    kind: Mapped[str]
    sample: Mapped[int]  # on the page's clock
    at: Mapped[float]  # seconds

    talk: Mapped[TalkRow] = relationship(back_populates="marks")


class SubmissionRow(Base):
    """A form that arrived whole. The key is the page's: the same form sent twice is one submission."""

    __tablename__ = "submissions"
    __table_args__ = (UniqueConstraint("rater_id", "form"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    rater_id: Mapped[str] = mapped_column(ForeignKey("raters.id"), index=True)
    form: Mapped[str]  # such as "talk-3f..." or "pair-3f...-a0..."
    key: Mapped[str]
    seconds: Mapped[float | None]  # from its first sight to its sending, on the page's clock
    comment: Mapped[str | None] = mapped_column(Text)
    at: Mapped[str]


class RatingRow(Base):
    """One answer to one question about one talk, or two in the order heard. Never changed."""

    __tablename__ = "ratings"

    id: Mapped[str] = mapped_column(String(24), primary_key=True)
    rater_id: Mapped[str] = mapped_column(ForeignKey("raters.id"), index=True)
    submission_id: Mapped[int | None] = mapped_column(ForeignKey("submissions.id"))
    stage: Mapped[str] = mapped_column(default="talker")  # talker; sound, transcript: how who reviews it met it
    talk_id: Mapped[str] = mapped_column(ForeignKey("talks.id"), index=True)
    other_id: Mapped[str | None] = mapped_column(ForeignKey("talks.id"))  # the second talk of a pair
    question: Mapped[str]
    answer: Mapped[int | None]
    reason: Mapped[str | None]  # why there is no answer
    choices: Mapped[list[str] | None] = mapped_column(JSON)  # reasons of a preference
    amends: Mapped[str | None] = mapped_column(ForeignKey("ratings.id"), unique=True)
    at: Mapped[str]

    rater: Mapped[RaterRow] = relationship(back_populates="ratings")

"""The first tables, and the database's own refusal to change a rating."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


SQLITE = """CREATE TRIGGER ratings_are_never_changed BEFORE UPDATE ON ratings
BEGIN SELECT RAISE(ABORT, 'ratings are never changed; add a row that amends'); END"""
POSTGRESQL = (
    """CREATE FUNCTION refuse_a_changed_rating() RETURNS trigger AS
$$ BEGIN RAISE EXCEPTION 'ratings are never changed; add a row that amends'; END $$ LANGUAGE plpgsql""",
    """CREATE TRIGGER ratings_are_never_changed BEFORE UPDATE ON ratings
FOR EACH ROW EXECUTE FUNCTION refuse_a_changed_rating()""",
)


def upgrade() -> None:
    for table in (studies, arms, raters, facts, invitations, submissions, talks, marks, ratings):
        table()
    dialect = op.get_bind().dialect.name
    for statement in (SQLITE,) if dialect == "sqlite" else POSTGRESQL if dialect == "postgresql" else ():
        op.execute(statement)


def studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=200), nullable=False),
        sa.Column("preregistered", sa.String(length=200), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=200), nullable=False),
        sa.Column("password", sa.String(length=200), nullable=True),
        sa.Column("created_at", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint("name", name=op.f("uq_studies_name")),
    )


def arms() -> None:
    op.create_table(
        "arms",
        sa.Column("code", sa.String(length=12), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("system", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_arms_study_id")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_arms")),
        sa.UniqueConstraint("study_id", "name", name=op.f("uq_arms_study_id")),
    )


def raters() -> None:
    op.create_table(
        "raters",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=200), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=True),
        sa.Column("external_session", sa.String(length=200), nullable=True),
        sa.Column("status", sa.String(length=200), nullable=False),
        sa.Column("cell", sa.Integer(), nullable=True),
        sa.Column("holds", sa.Boolean(), nullable=False),
        sa.Column("code", sa.String(length=200), nullable=True),
        sa.Column("created_at", sa.String(length=200), nullable=False),
        sa.Column("seen_at", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_raters_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raters")),
        sa.UniqueConstraint("study_id", "source", "external_id", name=op.f("uq_raters_study_id")),
    )
    with op.batch_alter_table("raters", schema=None) as batch_op:
        batch_op.create_index(
            "ix_raters_cell_held",
            ["study_id", "cell"],
            unique=True,
            sqlite_where=sa.text("holds"),
            postgresql_where=sa.text("holds"),
        )


def facts() -> None:
    op.create_table(
        "facts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rater_id", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"], name=op.f("fk_facts_rater_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_facts")),
    )
    with op.batch_alter_table("facts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_facts_rater_id"), ["rater_id"], unique=False)


def invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=True),
        sa.Column("rater_id", sa.String(length=16), nullable=True),
        sa.Column("created_at", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"], name=op.f("fk_invitations_rater_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_invitations_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
    )


def submissions() -> None:
    op.create_table(
        "submissions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rater_id", sa.String(length=16), nullable=False),
        sa.Column("form", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("at", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"], name=op.f("fk_submissions_rater_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submissions")),
        sa.UniqueConstraint("rater_id", "form", name=op.f("uq_submissions_rater_id")),
    )
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_submissions_rater_id"), ["rater_id"], unique=False)


def talks() -> None:
    op.create_table(
        "talks",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("rater_id", sa.String(length=16), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("arm", sa.String(length=12), nullable=True),
        sa.Column("scenario", sa.String(length=200), nullable=True),
        sa.Column("duration", sa.Double(), nullable=False),
        sa.Column("status", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("opened_at", sa.String(length=200), nullable=False),
        sa.Column("ended_at", sa.String(length=200), nullable=True),
        sa.Column("measured", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["arm"], ["arms.code"], name=op.f("fk_talks_arm")),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"], name=op.f("fk_talks_rater_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_talks")),
        sa.UniqueConstraint("rater_id", "slot", "attempt", name=op.f("uq_talks_rater_id")),
    )
    with op.batch_alter_table("talks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_talks_rater_id"), ["rater_id"], unique=False)


def marks() -> None:
    op.create_table(
        "marks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("talk_id", sa.String(length=24), nullable=False),
        sa.Column("rater_id", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("sample", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"], name=op.f("fk_marks_rater_id")),
        sa.ForeignKeyConstraint(["talk_id"], ["talks.id"], name=op.f("fk_marks_talk_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marks")),
        sa.UniqueConstraint("talk_id", "rater_id", "kind", "at", name=op.f("uq_marks_talk_id")),
    )
    with op.batch_alter_table("marks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_marks_talk_id"), ["talk_id"], unique=False)


def ratings() -> None:
    op.create_table(
        "ratings",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("rater_id", sa.String(length=16), nullable=False),
        sa.Column("submission_id", sa.Integer(), nullable=True),
        sa.Column("stage", sa.String(length=200), nullable=False),
        sa.Column("talk_id", sa.String(length=24), nullable=False),
        sa.Column("other_id", sa.String(length=24), nullable=True),
        sa.Column("question", sa.String(length=200), nullable=False),
        sa.Column("answer", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("choices", sa.JSON(), nullable=True),
        sa.Column("amends", sa.String(length=24), nullable=True),
        sa.Column("at", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["amends"], ["ratings.id"], name=op.f("fk_ratings_amends")),
        sa.ForeignKeyConstraint(["other_id"], ["talks.id"], name=op.f("fk_ratings_other_id")),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"], name=op.f("fk_ratings_rater_id")),
        sa.ForeignKeyConstraint(["submission_id"], ["submissions.id"], name=op.f("fk_ratings_submission_id")),
        sa.ForeignKeyConstraint(["talk_id"], ["talks.id"], name=op.f("fk_ratings_talk_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ratings")),
        sa.UniqueConstraint("amends", name=op.f("uq_ratings_amends")),
    )
    with op.batch_alter_table("ratings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ratings_rater_id"), ["rater_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ratings_talk_id"), ["talk_id"], unique=False)

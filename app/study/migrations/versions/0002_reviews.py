"""Finished talks that are given to raters of the second stage."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rater_id", sa.String(length=16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("talk_id", sa.String(length=24), nullable=False),
        sa.Column("mode", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"], name=op.f("fk_reviews_rater_id")),
        sa.ForeignKeyConstraint(["talk_id"], ["talks.id"], name=op.f("fk_reviews_talk_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("rater_id", "position", name=op.f("uq_reviews_rater_id")),
        sa.UniqueConstraint("talk_id", "rater_id", name=op.f("uq_reviews_talk_id")),
    )

"""several targets are retrained, and experiments compare them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lineage",
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("decision_id", sa.Integer(), nullable=False),
        sa.Column("part", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("version", "decision_id", name=op.f("pk_lineage")),
    )
    op.create_index(op.f("ix_lineage_decision_id"), "lineage", ["decision_id"], unique=False)
    op.create_table(
        "experiments",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("arms", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("conclusion", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_experiments")),
    )
    op.create_table(
        "exposures",
        sa.Column("experiment", sa.String(length=80), nullable=False),
        sa.Column("unit", sa.String(length=64), nullable=False),
        sa.Column("arm", sa.String(length=40), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "unit", name=op.f("pk_exposures")),
    )
    op.create_index(op.f("ix_exposures_session_id"), "exposures", ["session_id"], unique=False)
    op.create_index(op.f("ix_exposures_user_id"), "exposures", ["user_id"], unique=False)
    op.create_table(
        "experiment_looks",
        sa.Column("experiment", sa.String(length=80), nullable=False),
        sa.Column("arm", sa.String(length=40), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("n_sessions", sa.Integer(), nullable=False),
        sa.Column("estimate", sa.Float(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "arm", "day", name=op.f("pk_experiment_looks")),
    )

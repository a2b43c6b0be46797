"""programs propose changes of metrics, functions, cases and formats."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "proposals",
        sa.Column("proposal_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("change", sa.String(length=20), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("change_key", sa.String(length=64), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("approved", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_why", sa.Text(), nullable=True),
        sa.Column("undone_by", sa.Text(), nullable=True),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("undone_why", sa.Text(), nullable=True),
        sa.Column("rescore_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rescored_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("proposal_id", name=op.f("pk_proposals")),
        sa.UniqueConstraint("change_key", name=op.f("uq_proposals_change_key")),
    )
    op.create_index(op.f("ix_proposals_status_kind"), "proposals", ["status", "kind"])
    op.create_table(
        "proposal_traces",
        sa.Column("proposal_id", sa.Integer(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("proposal_id", "trace_id", name=op.f("pk_proposal_traces")),
    )
    op.create_index(op.f("ix_proposal_traces_trace_id"), "proposal_traces", ["trace_id"])
    op.create_table(
        "functions",
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_functions")),
    )
    op.create_index(op.f("ix_functions_name"), "functions", ["name"])
    op.create_table(
        "live_functions",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_live_functions")),
    )
    op.create_table(
        "failure_modes",
        sa.Column("mode_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("named_by", sa.Text(), nullable=True),
        sa.Column("centre", sa.LargeBinary(), nullable=False),
        sa.Column("embedder", sa.String(length=120), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("n_traces", sa.Integer(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("mode_id", name=op.f("pk_failure_modes")),
    )
    op.create_index(op.f("ix_failure_modes_found_at"), "failure_modes", ["found_at"])
    for first in ("app", "session_id"):
        op.create_index(
            op.f(f"ix_trace_documents_{first}_is_last_day_published_at"),
            "trace_documents",
            [first, "is_last", "day", "published_at"],
        )

"""traces arrive live, and corrections are served."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("imports", sa.Column("days", sa.Text(), nullable=True))
    op.create_table(
        "example_switches",
        sa.Column("scope", sa.String(length=10), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("switched_off_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("scope", "subject", name=op.f("pk_example_switches")),
    )
    op.create_table(
        "feedback",
        sa.Column("feedback_id", sa.Integer(), nullable=False),
        sa.Column("feedback_key", sa.String(length=64), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=True),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("correction", sa.Text(), nullable=True),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("tool", sa.String(length=40), nullable=False),
        sa.Column("author", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("feedback_id", name=op.f("pk_feedback")),
        sa.UniqueConstraint("feedback_key", name=op.f("uq_feedback_feedback_key")),
    )
    op.create_index(op.f("ix_feedback_trace_id"), "feedback", ["trace_id"], unique=False)
    op.create_table(
        "forgettings",
        sa.Column("forgetting_id", sa.String(length=40), nullable=False),
        sa.Column("user_hash", sa.String(length=64), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("forgotten_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("forgetting_id", name=op.f("pk_forgettings")),
    )
    op.create_table(
        "inbox",
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("n_bytes", sa.Integer(), nullable=False),
        sa.Column("n_spans", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_inbox")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_inbox_received_at_n_bytes_n_spans"),
        "inbox",
        ["received_at", "n_bytes", "n_spans"],
        unique=False,
    )
    op.create_table(
        "served_examples",
        sa.Column("served_id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("correction_id", sa.Text(), nullable=False),
        sa.Column("example_trace_id", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("similarity", sa.Float(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("index_version", sa.String(length=80), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("served_id", name=op.f("pk_served_examples")),
    )
    op.create_index(
        op.f("ix_served_examples_correction_id"), "served_examples", ["correction_id"], unique=False
    )
    op.create_index(
        op.f("ix_served_examples_trace_id"), "served_examples", ["trace_id"], unique=False
    )
    op.create_table(
        "watched_files",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("changed_ns", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_watched_files")),
    )
    op.add_column("trace_documents", sa.Column("published_at", sa.DateTime(timezone=True)))
    op.add_column(
        "trace_documents",
        sa.Column("is_last", sa.Boolean(), server_default=sa.true(), nullable=False),
    )
    # Of versions of which nobody noted which came last, one is taken for it.
    table = sa.table("trace_documents", sa.column("trace_id"), sa.column("content_hash"))
    last = sa.table("trace_documents", *map(sa.column, ("trace_id", "content_hash", "is_last")))
    other = table.alias("other")
    op.execute(
        last.update()
        .where(
            sa.exists().where(
                other.c.trace_id == last.c.trace_id, other.c.content_hash > last.c.content_hash
            )
        )
        .values(is_last=sa.false())
    )
    op.create_index(
        op.f("ix_trace_documents_is_last_day_published_at"),
        "trace_documents",
        ["is_last", "day", "published_at"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_table("watched_files")
    op.drop_column("imports", "days")
    op.drop_index(op.f("ix_trace_documents_is_last_day_published_at"), table_name="trace_documents")
    op.drop_column("trace_documents", "is_last")
    op.drop_column("trace_documents", "published_at")
    op.drop_index(op.f("ix_served_examples_trace_id"), table_name="served_examples")
    op.drop_index(op.f("ix_served_examples_correction_id"), table_name="served_examples")
    op.drop_table("served_examples")
    op.drop_index(op.f("ix_inbox_received_at_n_bytes_n_spans"), table_name="inbox")
    op.drop_table("inbox")
    op.drop_table("forgettings")
    op.drop_index(op.f("ix_feedback_trace_id"), table_name="feedback")
    op.drop_table("feedback")
    op.drop_table("example_switches")

"""people review in a web page."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("queue_items", schema=None) as batch_op:
        batch_op.add_column(sa.Column("judge_reason", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("judge_reason_code", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("evidence_turn", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("similar", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("assigned_to", sa.Text(), nullable=True))
        batch_op.drop_index(batch_op.f("ix_queue_items_status_priority"))
        batch_op.create_index(
            batch_op.f("ix_queue_items_status_priority_item_id"),
            ["status", "priority", "item_id"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_queue_items_assigned_to_status_priority_item_id"),
            ["assigned_to", "status", "priority", "item_id"],
            unique=False,
        )
        batch_op.drop_column("claimed_until")
        batch_op.drop_column("claimed_by")

    op.create_table(
        "api_keys",
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("prefix", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "comments",
        sa.Column("comment_id", sa.Integer(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("comment_id", name=op.f("pk_comments")),
    )
    with op.batch_alter_table("comments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_comments_trace_id"), ["trace_id"], unique=False)

    op.create_table(
        "invitations",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_invitations")),
    )
    op.create_table(
        "publications",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_publications")),
    )
    queues = op.create_table(
        "queues",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("reviewers", sa.Integer(), nullable=False),
        sa.Column("double_share", sa.Float(), nullable=False),
        sa.Column("is_blind", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_queues")),
    )
    op.bulk_insert(
        queues, [{"name": "review", "reviewers": 1, "double_share": 0.0, "is_blind": True}]
    )
    op.create_table(
        "rubrics",
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_rubrics")),
    )
    op.create_table(
        "trace_documents",
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("split", sa.String(length=20), nullable=False),
        sa.Column("n_messages", sa.Integer(), nullable=False),
        sa.Column("opening", sa.Text(), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("byte_offset", sa.BigInteger(), nullable=False),
        sa.Column("byte_length", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("trace_id", "content_hash", name=op.f("pk_trace_documents")),
    )
    op.create_table(
        "users",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("session_epoch", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_users")),
    )
    op.create_table(
        "claims",
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"],
            ["queue_items.item_id"],
        ),
        sa.PrimaryKeyConstraint("item_id", "reviewer", name=op.f("pk_claims")),
    )
    with op.batch_alter_table("claims", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_claims_reviewer"), ["reviewer"], unique=False)

    op.create_table(
        "item_metrics",
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(length=80), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["item_id"],
            ["queue_items.item_id"],
        ),
        sa.PrimaryKeyConstraint("item_id", "metric", name=op.f("pk_item_metrics")),
    )
    with op.batch_alter_table("item_metrics", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_item_metrics_metric"), ["metric"], unique=False)

    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_audit_log_action_happened_at"), ["action", "happened_at"], unique=False
        )

    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("corrected_tool_calls", sa.Text(), nullable=True))
        batch_op.drop_index(batch_op.f("ix_decisions_trace_id"))
        batch_op.create_index(
            batch_op.f("ix_decisions_trace_id_content_hash_reviewer"),
            ["trace_id", "content_hash", "reviewer"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_decisions_reviewer_decision_id"),
            ["reviewer", "decision_id"],
            unique=False,
        )


def downgrade() -> None:
    with op.batch_alter_table("queue_items", schema=None) as batch_op:
        batch_op.add_column(sa.Column("claimed_by", sa.TEXT(), nullable=True))
        batch_op.add_column(sa.Column("claimed_until", sa.DATETIME(), nullable=True))
        batch_op.drop_index(batch_op.f("ix_queue_items_assigned_to_status_priority_item_id"))
        batch_op.drop_index(batch_op.f("ix_queue_items_status_priority_item_id"))
        batch_op.create_index(
            batch_op.f("ix_queue_items_status_priority"), ["status", "priority"], unique=False
        )
        batch_op.drop_column("assigned_to")
        batch_op.drop_column("similar")
        batch_op.drop_column("evidence_turn")
        batch_op.drop_column("judge_reason_code")
        batch_op.drop_column("judge_reason")

    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_decisions_reviewer_decision_id"))
        batch_op.drop_index(batch_op.f("ix_decisions_trace_id_content_hash_reviewer"))
        batch_op.create_index(batch_op.f("ix_decisions_trace_id"), ["trace_id"], unique=False)
        batch_op.drop_column("corrected_tool_calls")

    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_log_action_happened_at"))

    with op.batch_alter_table("item_metrics", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_item_metrics_metric"))

    op.drop_table("item_metrics")
    with op.batch_alter_table("claims", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_claims_reviewer"))

    op.drop_table("claims")
    op.drop_table("users")
    op.drop_table("trace_documents")
    op.drop_table("rubrics")
    op.drop_table("queues")
    op.drop_table("publications")
    op.drop_table("invitations")
    with op.batch_alter_table("comments", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_comments_trace_id"))

    op.drop_table("comments")
    op.drop_table("api_keys")

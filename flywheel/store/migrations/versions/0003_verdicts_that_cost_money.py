"""verdicts that cost money, and panels."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts_fired",
        sa.Column("alert_id", sa.Integer(), nullable=False),
        sa.Column("rule", sa.String(length=80), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fired_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alerts_fired")),
        sa.UniqueConstraint("rule", "subject", name=op.f("uq_alerts_fired_rule_subject")),
    )
    with op.batch_alter_table("item_metrics", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("is_against", sa.Boolean(), server_default=sa.true(), nullable=False)
        )
        batch_op.add_column(
            sa.Column("is_questioned", sa.Boolean(), server_default=sa.false(), nullable=False)
        )

    op.create_table(
        "judge_budgets",
        sa.Column("judge", sa.String(length=80), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("usd", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("judge", "day", name=op.f("pk_judge_budgets")),
    )
    op.create_table(
        "judge_calibrations",
        sa.Column("calibration_id", sa.Integer(), nullable=False),
        sa.Column("judge_version", sa.String(length=80), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("n_labels", sa.Integer(), nullable=False),
        sa.Column("fitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("calibration_id", name=op.f("pk_judge_calibrations")),
    )
    with op.batch_alter_table("judge_calibrations", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_judge_calibrations_judge_version"), ["judge_version"], unique=False
        )

    op.create_table(
        "judge_calls",
        sa.Column("call_id", sa.Integer(), nullable=False),
        sa.Column("judge", sa.String(length=80), nullable=False),
        sa.Column("judge_version", sa.String(length=80), nullable=False),
        sa.Column("input_hash", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Float(), nullable=False),
        sa.Column("latency_ms", sa.Float(), nullable=True),
        sa.Column("called_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_judge_calls")),
    )
    with op.batch_alter_table("judge_calls", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_judge_calls_judge_called_at"), ["judge", "called_at"], unique=False
        )

    op.create_table(
        "panel_outcomes",
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("perceived_error", sa.Boolean(), nullable=True),
        sa.Column("settled_in_round", sa.Integer(), nullable=True),
        sa.Column("is_audited", sa.Boolean(), nullable=False),
        sa.Column("rubric_version", sa.String(length=40), nullable=False),
        sa.Column("draw_probability", sa.Float(), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("trace_id", "content_hash", name=op.f("pk_panel_outcomes")),
    )
    op.create_table(
        "panel_votes",
        sa.Column("vote_id", sa.Integer(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("member", sa.String(length=80), nullable=False),
        sa.Column("judge_version", sa.String(length=80), nullable=False),
        sa.Column("perceived_error", sa.Boolean(), nullable=True),
        sa.Column("reason_code", sa.String(length=40), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("cost_usd", sa.Float(), nullable=False),
        sa.Column("voted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("vote_id", name=op.f("pk_panel_votes")),
        sa.UniqueConstraint(
            "trace_id",
            "content_hash",
            "round",
            "judge_version",
            name=op.f("uq_panel_votes_trace_id_content_hash_round_judge_version"),
        ),
    )


def downgrade() -> None:
    op.drop_table("panel_votes")
    op.drop_table("panel_outcomes")
    with op.batch_alter_table("judge_calls", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_judge_calls_judge_called_at"))

    op.drop_table("judge_calls")
    with op.batch_alter_table("judge_calibrations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_judge_calibrations_judge_version"))

    op.drop_table("judge_calibrations")
    op.drop_table("judge_budgets")
    with op.batch_alter_table("item_metrics", schema=None) as batch_op:
        batch_op.drop_column("is_questioned")
        batch_op.drop_column("is_against")
    op.drop_table("alerts_fired")

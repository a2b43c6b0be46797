"""What judges said and cost: opinions that are kept, paid calls, calibrations, panels, alerts."""

import sqlalchemy as sa

from flywheel.store.tables.base import metadata, when

# One row a verdict that cost minutes or money.
verdict_cache = sa.Table(
    "verdict_cache",
    metadata,
    sa.Column("input_hash", sa.String(64), primary_key=True),
    sa.Column("judge_version", sa.String(80), primary_key=True),
    sa.Column("few_shot_key", sa.String(64), primary_key=True),
    # JSON: logit, reason_code, evidence_turn.
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("latency_ms", sa.Float, nullable=False),
    sa.Column("cost_usd", sa.Float, nullable=False),
    when("judged_at"),
)

# One row a request to a model that is paid for; what it spent counts from the moment it is sent.
judge_calls = sa.Table(
    "judge_calls",
    metadata,
    sa.Column("call_id", sa.Integer, primary_key=True),
    # Which of [judges.NAME]: the budget is its.
    sa.Column("judge", sa.String(80), nullable=False),
    sa.Column("judge_version", sa.String(80), nullable=False),
    sa.Column("input_hash", sa.String(64), nullable=False),
    # running, ok, unparsed, refused or failed; `why` says what was wrong.
    sa.Column("outcome", sa.String(10), nullable=False),
    sa.Column("why", sa.Text),
    sa.Column("prompt_tokens", sa.Integer, nullable=False),
    sa.Column("completion_tokens", sa.Integer, nullable=False),
    # While it runs, the most that it can cost.
    sa.Column("cost_usd", sa.Float, nullable=False),
    sa.Column("latency_ms", sa.Float),
    when("called_at"),
)
sa.Index(None, judge_calls.c.judge, judge_calls.c.called_at)

# One row a judge and UTC day: the sum of its calls, so that none need be added up before the next.
judge_budgets = sa.Table(
    "judge_budgets",
    metadata,
    sa.Column("judge", sa.String(80), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("usd", sa.Float, nullable=False),
)

# One row a generative judge that was measured against labels: how its logits become probabilities.
judge_calibrations = sa.Table(
    "judge_calibrations",
    metadata,
    sa.Column("calibration_id", sa.Integer, primary_key=True),
    sa.Column("judge_version", sa.String(80), nullable=False),
    # JSON: the calibration, the certified thresholds and what they were certified on.
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("n_labels", sa.Integer, nullable=False),
    when("fitted_at"),
)
sa.Index(None, judge_calibrations.c.judge_version)

# One row a vote of a panel's member; null where its reply could not be read.
panel_votes = sa.Table(
    "panel_votes",
    metadata,
    sa.Column("vote_id", sa.Integer, primary_key=True),
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("member", sa.String(80), nullable=False),
    sa.Column("judge_version", sa.String(80), nullable=False),
    sa.Column("perceived_error", sa.Boolean),
    sa.Column("reason_code", sa.String(40)),
    sa.Column("reason", sa.Text),
    sa.Column("cost_usd", sa.Float, nullable=False),
    when("voted_at"),
    sa.UniqueConstraint("trace_id", "content_hash", "round", "judge_version"),
)

# One row a trace that a panel has been through; `perceived_error` is null where people must decide.
panel_outcomes = sa.Table(
    "panel_outcomes",
    metadata,
    sa.Column("trace_id", sa.Text, primary_key=True),
    sa.Column("content_hash", sa.String(64), primary_key=True),
    sa.Column("perceived_error", sa.Boolean),
    sa.Column("settled_in_round", sa.Integer),
    # Whether it was drawn for people although the panel is of one mind.
    sa.Column("is_audited", sa.Boolean, nullable=False),
    # By which words it was settled, and the chance that the panel was given the trace.
    sa.Column("rubric_version", sa.String(40), nullable=False),
    sa.Column("draw_probability", sa.Float, nullable=False),
    when("settled_at"),
)

# One row an alert that was sent, or tried: the rule, what it saw, and the reason in a sentence.
alerts_fired = sa.Table(
    "alerts_fired",
    metadata,
    sa.Column("alert_id", sa.Integer, primary_key=True),
    sa.Column("rule", sa.String(80), nullable=False),
    # What it is about, so that one thing is told once: a day, an application.
    sa.Column("subject", sa.String(200), nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    # Null where the rule names no address, or the address did not answer.
    sa.Column("delivered_at", sa.DateTime(timezone=True)),
    when("fired_at"),
    sa.UniqueConstraint("rule", "subject"),
)

"""What people are asked and what they said, and who they are."""

import sqlalchemy as sa

from flywheel.store.tables.base import metadata, when

# One row a queue: how its items are reviewed.
queues = sa.Table(
    "queues",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    # How many people decide on an item, and on what random share of them one more does.
    sa.Column("reviewers", sa.Integer, nullable=False),
    sa.Column("double_share", sa.Float, nullable=False),
    # Whether the judge's word is hidden from a reviewer until that reviewer has decided.
    sa.Column("is_blind", sa.Boolean, nullable=False),
)

# One row a trace that people should look at.
queue_items = sa.Table(
    "queue_items",
    metadata,
    sa.Column("item_id", sa.Integer, primary_key=True),
    sa.Column("queue", sa.String(40), nullable=False),
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("app", sa.Text, nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("reason", sa.String(20), nullable=False),
    sa.Column("priority", sa.Float, nullable=False),
    # Probability that the trace was drawn at all, and that the uniform audit alone drew it.
    sa.Column("draw_probability", sa.Float, nullable=False),
    sa.Column("audit_probability", sa.Float, nullable=False),
    sa.Column("probability", sa.Float),
    sa.Column("judge_version", sa.String(80)),
    # The judge's words at the time of the draw, and the message that they speak of.
    sa.Column("judge_reason", sa.Text),
    sa.Column("judge_reason_code", sa.String(40)),
    sa.Column("evidence_turn", sa.Integer),
    # JSON: [correction_id, similarity] of the examples that retrieval gave, best first.
    sa.Column("similar", sa.Text),
    # pending, disputed (reviewers disagree), complete or declined.
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("assigned_to", sa.Text),
    sa.Column("reviewers_needed", sa.Integer, nullable=False),
    when("queued_at"),
    sa.UniqueConstraint("trace_id", "content_hash", "queue"),
)
sa.Index(None, queue_items.c.status, queue_items.c.priority, queue_items.c.item_id)
# What is next for somebody, or where it is null for anybody.
sa.Index(None, *queue_items.c["assigned_to", "status", "priority", "item_id"])

# One row a metric by code that speaks against an item's trace.
item_metrics = sa.Table(
    "item_metrics",
    metadata,
    sa.Column("item_id", sa.Integer, sa.ForeignKey("queue_items.item_id"), primary_key=True),
    sa.Column("metric", sa.String(80), primary_key=True),
    sa.Column("value", sa.Float),
    sa.Column("label", sa.Text),
    # Whether it speaks against the trace, and whether its own review is overdue.
    sa.Column("is_against", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("is_questioned", sa.Boolean, nullable=False, server_default=sa.false()),
)
sa.Index(None, item_metrics.c.metric)

# One row a reviewer who has an item on the desk; it counts until `claimed_until`.
claims = sa.Table(
    "claims",
    metadata,
    sa.Column("item_id", sa.Integer, sa.ForeignKey("queue_items.item_id"), primary_key=True),
    sa.Column("reviewer", sa.Text, primary_key=True),
    when("claimed_at"),
    when("claimed_until"),
)
sa.Index(None, claims.c.reviewer)

# One row a decision of a person; never updated, never deleted.
decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("decision_id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(10), nullable=False),
    # The decision that an `undo` takes back.
    sa.Column("undoes", sa.Integer),
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("perceived_error", sa.Boolean),
    sa.Column("reason_code", sa.String(40)),
    sa.Column("reason", sa.Text),
    sa.Column("evidence_turn", sa.Integer),
    sa.Column("rubric_version", sa.String(40), nullable=False),
    sa.Column("seconds", sa.Float),
    sa.Column("draw_probability", sa.Float),
    sa.Column("is_audit", sa.Boolean, nullable=False),
    # The better answer, in place of the assistant message at this position.
    sa.Column("corrected_turn", sa.Integer),
    sa.Column("corrected_text", sa.Text),
    # JSON: the better tool calls, all of that message's, in place of its own.
    sa.Column("corrected_tool_calls", sa.Text),
    when("decided_at"),
    # Hash of the row of a decision file: the same file twice adds nothing.
    sa.Column("import_key", sa.String(64), unique=True),
)
# SQLite takes the index of which most columns are given, and a reviewer alone has many rows.
sa.Index(None, decisions.c.trace_id, decisions.c.content_hash, decisions.c.reviewer)
sa.Index(None, decisions.c.reviewer, decisions.c.decision_id)

# One row a remark on a trace.
comments = sa.Table(
    "comments",
    metadata,
    sa.Column("comment_id", sa.Integer, primary_key=True),
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    when("written_at"),
)
sa.Index(None, comments.c.trace_id)

# One row a wording of the rubric that somebody decided by.
rubrics = sa.Table(
    "rubrics",
    metadata,
    sa.Column("version", sa.String(40), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    when("since"),
)

# One row somebody who may sign in, or a program that may call.
users = sa.Table(
    "users",
    metadata,
    sa.Column("name", sa.String(80), primary_key=True),
    sa.Column("role", sa.String(10), nullable=False),
    # argon2id; null until the first sign-in, and for programs.
    sa.Column("password_hash", sa.Text),
    # Goes up with each new password and each removal: earlier sessions end.
    sa.Column("session_epoch", sa.Integer, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    when("created_at"),
)

# One row a link that lets its user choose a password, once.
invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("role", sa.String(10), nullable=False),
    when("expires_at"),
    sa.Column("used_at", sa.DateTime(timezone=True)),
)

# One row a key of the HTTP API; its holder acts as `name`.
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_hash", sa.String(64), primary_key=True),
    # The first characters, by which a person tells keys apart.
    sa.Column("prefix", sa.String(12), nullable=False),
    sa.Column("name", sa.String(80), nullable=False),
    when("created_at"),
    sa.Column("revoked_at", sa.DateTime(timezone=True)),
)

"""The ledger's tables: what must never be lost, and what many write at once.

Append-only where people or money are involved: a decision is undone by a later one, a verdict that
was paid for stays, an alias moves and the audit log says who moved it. A change here needs a
migration.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


def _when(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


# One row a file that was handed to `traces import`.
imports = sa.Table(
    "imports",
    metadata,
    sa.Column("import_id", sa.Integer, primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("format", sa.String(40), nullable=False),
    sa.Column("app", sa.Text),
    sa.Column("day", sa.Date, nullable=False),
    # Name of the stored copy, or null where the user kept the file in place (--no-copy).
    sa.Column("artifact", sa.Text),
    _when("imported_at"),
    sa.UniqueConstraint("sha256", "format", "app"),
)

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
    _when("queued_at"),
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
)
sa.Index(None, item_metrics.c.metric)

# One row a reviewer who has an item on the desk; it counts until `claimed_until`.
claims = sa.Table(
    "claims",
    metadata,
    sa.Column("item_id", sa.Integer, sa.ForeignKey("queue_items.item_id"), primary_key=True),
    sa.Column("reviewer", sa.Text, primary_key=True),
    _when("claimed_at"),
    _when("claimed_until"),
)
sa.Index(None, claims.c.reviewer)

# One row a version of a trace that can be shown; where its document lies in an artifact.
trace_documents = sa.Table(
    "trace_documents",
    metadata,
    sa.Column("trace_id", sa.Text, primary_key=True),
    sa.Column("content_hash", sa.String(64), primary_key=True),
    sa.Column("app", sa.Text, nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("split", sa.String(20), nullable=False),
    sa.Column("n_messages", sa.Integer, nullable=False),
    # One line of what the user said first.
    sa.Column("opening", sa.Text, nullable=False),
    sa.Column("artifact", sa.Text, nullable=False),
    sa.Column("byte_offset", sa.BigInteger, nullable=False),
    sa.Column("byte_length", sa.BigInteger, nullable=False),
)

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
    _when("decided_at"),
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
    _when("written_at"),
)
sa.Index(None, comments.c.trace_id)

# One row a wording of the rubric that somebody decided by.
rubrics = sa.Table(
    "rubrics",
    metadata,
    sa.Column("version", sa.String(40), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    _when("since"),
)

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
    _when("judged_at"),
)

# One row a snapshot of warehouse rows, kept as Parquet, from which the warehouse is rebuilt.
snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("snapshot_id", sa.Integer, primary_key=True),
    sa.Column("table_name", sa.String(40), nullable=False),
    # What the rows replace: a day, and a version where the table has one.
    sa.Column("partition", sa.String(200), nullable=False),
    sa.Column("artifact", sa.Text, nullable=False),
    sa.Column("n_rows", sa.Integer, nullable=False),
    _when("written_at"),
    sa.UniqueConstraint("table_name", "partition"),
)

# One row a version of something that can be a champion.
versions = sa.Table(
    "versions",
    metadata,
    sa.Column("version", sa.String(80), primary_key=True),
    sa.Column("target", sa.String(40), nullable=False),
    # JSON: base and its hash, tier, rank, snapshot, seed, parent, evaluation card.
    sa.Column("manifest", sa.Text, nullable=False),
    sa.Column("artifact", sa.Text),
    sa.Column("parent", sa.String(80)),
    _when("created_at"),
)

# One row an alias: `champion` and `challenger` of a target.
aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("target", sa.String(40), primary_key=True),
    sa.Column("alias", sa.String(40), primary_key=True),
    sa.Column("version", sa.String(80), nullable=False),
    _when("since"),
)

# One row a verdict of the gate, with all its evidence; also the log of looks at the holdout.
gate_verdicts = sa.Table(
    "gate_verdicts",
    metadata,
    sa.Column("verdict_id", sa.Integer, primary_key=True),
    sa.Column("target", sa.String(40), nullable=False),
    sa.Column("challenger", sa.String(80), nullable=False),
    sa.Column("champion", sa.String(80), nullable=False),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("alpha_spent", sa.Float, nullable=False),
    # Hash of challenger, champion and the labels: the same look twice is one look.
    sa.Column("look_key", sa.String(64), nullable=False, unique=True),
    _when("decided_at"),
)

# One row a thing that the pipeline made for the web pages, by its name: the artifact in force.
publications = sa.Table(
    "publications",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("artifact", sa.Text, nullable=False),
    _when("published_at"),
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
    _when("created_at"),
)

# One row a link that lets its user choose a password, once.
invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("role", sa.String(10), nullable=False),
    _when("expires_at"),
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
    _when("created_at"),
    sa.Column("revoked_at", sa.DateTime(timezone=True)),
)

# One row something that a person or a rule did.
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("entry_id", sa.Integer, primary_key=True),
    _when("happened_at"),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(40), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
sa.Index(None, audit_log.c.action, audit_log.c.happened_at)

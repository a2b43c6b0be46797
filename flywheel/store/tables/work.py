"""What the pipeline did and made: imports, documents, snapshots, versions, aliases, the log."""

import sqlalchemy as sa

from flywheel.store.tables.base import metadata, when

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
    when("imported_at"),
    # JSON: the UTC days that its traces are of, once the warehouse has it.
    sa.Column("days", sa.Text),
    sa.UniqueConstraint("sha256", "format", "app"),
)

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
    # Null where it was published long ago.
    sa.Column("published_at", sa.DateTime(timezone=True)),
    # Whether of its trace it is the version published last, which is the one that is shown.
    sa.Column("is_last", sa.Boolean, nullable=False, server_default=sa.true()),
)

# The newest first: of all, of an application, of a session.
sa.Index(None, *trace_documents.c["is_last", "day", "published_at"])
sa.Index(None, *trace_documents.c["app", "is_last", "day", "published_at"])
sa.Index(None, *trace_documents.c["session_id", "is_last", "day", "published_at"])

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
    when("written_at"),
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
    when("created_at"),
)

# One row an alias: `champion`, `challenger` and `shadow` of a target.
aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("target", sa.String(40), primary_key=True),
    sa.Column("alias", sa.String(40), primary_key=True),
    sa.Column("version", sa.String(80), nullable=False),
    when("since"),
)

# One row a decision that a version was trained on, and in which part of the data.
lineage = sa.Table(
    "lineage",
    metadata,
    sa.Column("version", sa.String(80), primary_key=True),
    sa.Column("decision_id", sa.Integer, primary_key=True),
    # train, validation, calibration or negative.
    sa.Column("part", sa.String(20), nullable=False),
)
sa.Index(None, lineage.c.decision_id)

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
    when("decided_at"),
)

# One row a thing that the pipeline made for the web pages, by its name: the artifact in force.
publications = sa.Table(
    "publications",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("artifact", sa.Text, nullable=False),
    when("published_at"),
)

# One row something that a person or a rule did.
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("entry_id", sa.Integer, primary_key=True),
    when("happened_at"),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(40), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
sa.Index(None, audit_log.c.action, audit_log.c.happened_at)

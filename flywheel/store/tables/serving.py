"""What production sends and is given: the inbox, feedback, served examples, forgettings."""

import sqlalchemy as sa

from flywheel.store.tables.base import metadata, when

# One row a request that brought traces and that is acknowledged; gone once it is archived.
inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("batch_id", sa.Integer, primary_key=True),
    # otlp: an ExportTraceServiceRequest in protobuf; otlp-json: the same in JSON; flywheel: our own
    # JSON lines. `body` is compressed by zstd.
    sa.Column("kind", sa.String(20), nullable=False),
    # Application of traces that name none; empty is the default one.
    sa.Column("app", sa.Text, nullable=False),
    # Bytes before compression, spans or traces in it.
    sa.Column("n_bytes", sa.Integer, nullable=False),
    sa.Column("n_spans", sa.Integer, nullable=False),
    when("received_at"),
    # Last, so that what stands before it is read without it.
    sa.Column("body", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
# How full it is, without a look at the rows.
sa.Index(None, inbox.c.received_at, inbox.c.n_bytes, inbox.c.n_spans)

# One row a file of the watched folder, as it was at the last look.
watched_files = sa.Table(
    "watched_files",
    metadata,
    # Its path within the folder.
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("n_bytes", sa.BigInteger, nullable=False),
    # Time of its last change, in nanoseconds since 1970.
    sa.Column("changed_ns", sa.BigInteger, nullable=False),
    # growing, imported or refused.
    sa.Column("state", sa.String(10), nullable=False),
    # Why it was refused.
    sa.Column("why", sa.Text),
    when("seen_at"),
)

# One row what somebody outside the review said of a trace: an end user, or another tool's score.
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("feedback_id", sa.Integer, primary_key=True),
    # Hash of where it comes from: the same feedback twice is one row.
    sa.Column("feedback_key", sa.String(64), nullable=False, unique=True),
    sa.Column("app", sa.Text, nullable=False),
    # The trace may come later, or never; empty until it is known whose the span is.
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("span_id", sa.Text),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("label", sa.Text),
    sa.Column("comment", sa.Text),
    # A better answer.
    sa.Column("correction", sa.Text),
    # end_user, annotator, llm or code.
    sa.Column("source", sa.String(20), nullable=False),
    # What brought it: api, or the tool that an export is of.
    sa.Column("tool", sa.String(40), nullable=False),
    sa.Column("author", sa.Text),
    sa.Column("user_id", sa.Text),
    when("given_at"),
    when("received_at"),
)
sa.Index(None, feedback.c.trace_id)

# One row an example that an application was given for a request.
served_examples = sa.Table(
    "served_examples",
    metadata,
    sa.Column("served_id", sa.Integer, primary_key=True),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("app", sa.Text, nullable=False),
    # Of the conversation that was served, where the application said so.
    sa.Column("trace_id", sa.Text),
    sa.Column("session_id", sa.Text),
    sa.Column("user_id", sa.Text),
    sa.Column("correction_id", sa.Text, nullable=False),
    # The trace that the example is from.
    sa.Column("example_trace_id", sa.Text, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("similarity", sa.Float, nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("index_version", sa.String(80), nullable=False),
    when("served_at"),
)
sa.Index(None, served_examples.c.correction_id)
sa.Index(None, served_examples.c.trace_id)

# One row a switch that is off: an example, an application's examples, or all of them.
example_switches = sa.Table(
    "example_switches",
    metadata,
    # example, app or all.
    sa.Column("scope", sa.String(10), primary_key=True),
    # A correction's id or an application; empty for all.
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    when("switched_off_at"),
)

# One row a user, or an age of traces, that was forgotten: what was removed, as a receipt.
forgettings = sa.Table(
    "forgettings",
    metadata,
    sa.Column("forgetting_id", sa.String(40), primary_key=True),
    # Keyed hash of the user; empty where traces grew too old.
    sa.Column("user_hash", sa.String(64), nullable=False),
    sa.Column("app", sa.Text, nullable=False),
    # JSON: what was removed where, which adapters had learnt from it. Nothing in it names anybody.
    sa.Column("receipt", sa.Text, nullable=False),
    when("forgotten_at"),
)

# One row an experiment: arms that sessions are given by a hash, and what is compared.
experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("name", sa.String(80), primary_key=True),
    # prompt, few-shots, judge or adapter.
    sa.Column("kind", sa.String(20), nullable=False),
    # Empty for all applications.
    sa.Column("app", sa.Text, nullable=False),
    # JSON: the arms in order, each with its name, share and what it stands for.
    sa.Column("arms", sa.Text, nullable=False),
    # JSON: the outcome, alpha, the least difference that matters.
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    when("started_at"),
    sa.Column("stopped_at", sa.DateTime(timezone=True)),
    # In a sentence, when it was stopped.
    sa.Column("conclusion", sa.Text),
)

# One row a session that was given an arm, or a user where no session was named, when it first was.
exposures = sa.Table(
    "exposures",
    metadata,
    sa.Column("experiment", sa.String(80), primary_key=True),
    # Hash of the session, or of the user.
    sa.Column("unit", sa.String(64), primary_key=True),
    sa.Column("arm", sa.String(40), nullable=False),
    sa.Column("session_id", sa.Text),
    sa.Column("user_id", sa.Text),
    when("first_at"),
)
sa.Index(None, exposures.c.session_id)
sa.Index(None, exposures.c.user_id)

# One row a day on which an arm was compared with the first: the last look of that day.
experiment_looks = sa.Table(
    "experiment_looks",
    metadata,
    sa.Column("experiment", sa.String(80), primary_key=True),
    sa.Column("arm", sa.String(40), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    # waiting, open, different, alike or invalid.
    sa.Column("state", sa.String(20), nullable=False),
    # Sessions of both arms with an outcome.
    sa.Column("n_sessions", sa.Integer, nullable=False),
    # Outcome of the arm minus that of the first, with its confidence sequence; null without one.
    sa.Column("estimate", sa.Float),
    sa.Column("low", sa.Float),
    sa.Column("high", sa.Float),
    when("looked_at"),
)

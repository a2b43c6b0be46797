"""What programs propose and people approve: changes of metrics, functions, cases and formats."""

import sqlalchemy as sa

from flywheel.store.tables.base import metadata, when

# One row a change that a program proposed; what became of it stays beside it.
proposals = sa.Table(
    "proposals",
    metadata,
    sa.Column("proposal_id", sa.Integer, primary_key=True),
    # metric, function, case or format.
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("subject", sa.String(120), nullable=False),
    # add, redefine or remove.
    sa.Column("change", sa.String(20), nullable=False),
    # The whole text as it was and as it would be: of a file, or of a record as JSON.
    sa.Column("before", sa.Text),
    sa.Column("after", sa.Text),
    sa.Column("why", sa.Text, nullable=False),
    # JSON: what was measured, in the shape of `evolution.evidence.Evidence`.
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("proposed_by", sa.Text, nullable=False),
    # Hash of kind, subject, before and after: the same change is proposed once.
    sa.Column("change_key", sa.String(64), nullable=False, unique=True),
    when("proposed_at"),
    # open, approved, rejected or undone.
    sa.Column("status", sa.String(20), nullable=False),
    # What was approved, where a person changed it before.
    sa.Column("approved", sa.Text),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", sa.DateTime(timezone=True)),
    sa.Column("decided_why", sa.Text),
    sa.Column("undone_by", sa.Text),
    sa.Column("undone_at", sa.DateTime(timezone=True)),
    sa.Column("undone_why", sa.Text),
    # When somebody asked that an approved metric reads history, and when it last began to.
    sa.Column("rescore_asked_at", sa.DateTime(timezone=True)),
    sa.Column("rescored_at", sa.DateTime(timezone=True)),
)
sa.Index(None, proposals.c.status, proposals.c.kind)

# One row a trace that shows why a change is proposed.
proposal_traces = sa.Table(
    "proposal_traces",
    metadata,
    sa.Column("proposal_id", sa.Integer, primary_key=True),
    sa.Column("trace_id", sa.Text, primary_key=True),
    sa.Column("content_hash", sa.String(64), nullable=False),
)
sa.Index(None, proposal_traces.c.trace_id)

# One row a version of a function that an agent may call, by the hash of its record.
functions = sa.Table(
    "functions",
    metadata,
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    # JSON: description, schema of the arguments, code, requirements, tests, traces it came from.
    sa.Column("record", sa.Text, nullable=False),
    when("made_at"),
)
sa.Index(None, functions.c.name)

# One row a function that agents may call now: which of its versions, and since when.
live_functions = sa.Table(
    "live_functions",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("version", sa.String(64), nullable=False),
    when("since"),
)

# One row a way of failing that was seen; a name that a person gave stays.
failure_modes = sa.Table(
    "failure_modes",
    metadata,
    sa.Column("mode_id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    # Who named it; null where a program did.
    sa.Column("named_by", sa.Text),
    # The middle of its traces, float32, by which a later clustering knows it again.
    sa.Column("centre", sa.LargeBinary, nullable=False),
    sa.Column("embedder", sa.String(120), nullable=False),
    sa.Column("first_day", sa.Date, nullable=False),
    sa.Column("last_day", sa.Date, nullable=False),
    # Conversations that were of it when it was last looked for.
    sa.Column("n_traces", sa.Integer, nullable=False),
    # One moment for all that one look found.
    when("found_at"),
)
sa.Index(None, failure_modes.c.found_at)

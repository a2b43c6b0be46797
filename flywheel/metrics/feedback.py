"""Feedback as scores: what people and tools outside the review say of a trace, beside the metrics.

The ledger's `feedback` in, the warehouse's `feedback` and rows of `scores` out (the metric is
`feedback:<name>`, the day that of the trace). The one idea is that all of it is derived, so that it
is made anew each time: a word that came before its trace, or was taken back, needs no care.
"""

from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from flywheel.store import Stores
from flywheel.store.ledger import Ledger
from flywheel.store.tables import feedback

_MIRROR = pa.schema(
    [
        ("feedback_id", pa.int64()),
        ("app", pa.string()),
        ("trace_id", pa.string()),
        ("span_id", pa.string()),
        ("name", pa.string()),
        ("value", pa.float64()),
        ("label", pa.string()),
        ("comment", pa.string()),
        ("correction", pa.string()),
        ("source", pa.string()),
        ("tool", pa.string()),
        ("author", pa.string()),
        ("given_at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class FeedbackReport:
    """Rows of feedback there are, and rows of scores that they make.

    `waiting` are of traces that have not come.
    """

    feedback: int
    scores: int
    waiting: int


def score_feedback(stores: Stores) -> FeedbackReport:
    """Bring the feedback into the warehouse, and make scores of what stands of it.

    A giver's last word under a name counts. What named a span alone is given its trace, in the
    ledger too.
    """
    mirrored = _all_feedback(stores.ledger)
    with stores.warehouse.open() as connection:
        with connection.transaction(), connection.given(ledger_feedback=mirrored):
            for step in ("clear_feedback", "mirror_feedback", "clear_feedback_scores"):
                connection.run(f"metrics_runs/{step}")
            n_scores = connection.count("metrics_runs/derive_feedback_scores")
            connection.run("metrics_runs/clear_feedback_runs")
            connection.run("metrics_runs/derive_feedback_runs")
            found = connection.table("metrics_runs/feedback_of_spans").to_pylist()
        waiting = connection.count("metrics_runs/feedback_without_trace")
    _note_traces(stores.ledger, [(row["feedback_id"], row["trace_id"]) for row in found])
    return FeedbackReport(mirrored.num_rows, n_scores, waiting)


def _all_feedback(ledger: Ledger) -> pa.Table:
    own = [feedback.c[name] for name in _MIRROR.names if name != "author"]
    # Of an end user nobody else is named.
    author = sa.func.coalesce(feedback.c.author, feedback.c.user_id).label("author")
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*own, author).order_by(feedback.c.feedback_id)).all()
    return pa.table(
        [pa.array([getattr(row, field.name) for row in rows], field.type) for field in _MIRROR],
        schema=_MIRROR,
    )


def _note_traces(ledger: Ledger, found: list[tuple[int, str]]) -> None:
    if not found:
        return
    of_row = feedback.update().where(feedback.c.feedback_id == sa.bindparam("row"))
    with ledger.begin() as connection:
        connection.execute(
            of_row.values(trace_id=sa.bindparam("trace")),
            [{"row": feedback_id, "trace": trace_id} for feedback_id, trace_id in found],
        )

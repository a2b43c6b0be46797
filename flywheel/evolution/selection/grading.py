"""What to grade next, so that the metrics are known soonest: by turns the worst and the best.

Scores of metrics in, traces in the order in which a person should see them out. The one idea is
that a metric is tested by what it speaks against and by what it lets pass, so that both ends of the
order are graded, and that labels found so teach and are left out of every estimate of a rate.

Source: EvalGen (2404.12272), section 4.3.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa
import sqlalchemy as sa

from flywheel.evolution.selection.flags import directions_of, metrics_of
from flywheel.queue.picking import pick_trace
from flywheel.store import Project
from flywheel.store.ledger import Ledger
from flywheel.store.tables import queue_items
from flywheel.traces.documents import publish_documents
from flywheel.traces.importing import days_with_traces


@dataclass(frozen=True, slots=True)
class ToGrade:
    """A trace that is worth grading; `against` are the metrics that speak against it.

    `priority` is the sum of the shares of traces that those metrics pass.
    """

    trace_id: str
    content_hash: str
    app: str
    day: date
    priority: float
    against: tuple[str, ...]


def grade_next(project: Project, n: int, app: str | None = None) -> list[ToGrade]:
    """At most `n` traces of the last weeks that nobody was asked about: the worst, the best, ...

    The days are as many as failure modes are made of.
    """
    days = days_with_traces(project.stores)
    if not days:
        return []
    span = {
        "first": days[-1] - timedelta(days=project.settings.evolution.mode_days - 1),
        "last": days[-1],
    }
    given = {
        "directions": directions_of(metrics_of(project)),
        "queued": _queued(project.stores.ledger),
    }
    with project.stores.warehouse.read() as connection, connection.given(**given):
        rows = connection.table("evolution/ungraded_traces", **span, most=n, app=app)
    found = [ToGrade(**row | {"against": tuple(row["against"])}) for row in rows.to_pylist()]
    return alternated(found)[:n]


def alternated(ranked: list[ToGrade]) -> list[ToGrade]:
    """Of a list by falling priority, the first, the last, the second, the last but one, ..."""
    middle = (len(ranked) + 1) // 2
    high, low = ranked[:middle], ranked[: middle - 1 : -1] if middle else []
    return [one for i in range(middle) for one in (*high[i : i + 1], *low[i : i + 1])]


def queue_next(project: Project, wanted: Iterable[ToGrade], actor: str) -> list[int]:
    """Put traces into the queue `picked` in this order; their items."""
    traces = list(wanted)
    publish_documents(project.stores, [(one.trace_id, one.content_hash) for one in traces])
    ledger = project.stores.ledger
    return [pick_trace(ledger, one.trace_id, one.content_hash, actor) for one in traces]


def _queued(ledger: Ledger) -> pa.Table:
    names = ("trace_id", "content_hash")
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*queue_items.c[names])).all()
    return pa.table(
        {name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(names)}
    )

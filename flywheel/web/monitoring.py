"""For machines that watch the server: whether it works, and what is in the ledger.

The ledger in, `/healthz`, `/readyz` and Prometheus's text out; the one idea is that everything is
looked at when it is asked for, so that nothing runs in between.
"""

import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Annotated, get_args

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from fastapi import APIRouter, Depends, Request, Security
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from flywheel.errors import TryAgain
from flywheel.records import ItemStatus
from flywheel.store.ledger import MIGRATIONS, in_utc, now
from flywheel.store.tables import claims, decisions, queue_items, trace_documents
from flywheel.traces.inbox import fill_of
from flywheel.web.access import bearer_key, by_key, other_key
from flywheel.web.context import Web, web_of
from flywheel.web.security import is_heard_by_others

router = APIRouter()


@router.get("/healthz")
def healthz(request: Request) -> JSONResponse:
    """Whether the server works: it can read its ledger."""
    try:
        with web_of(request).stores.ledger.read() as connection:
            connection.execute(sa.select(1))
    except sa.exc.DBAPIError:
        return JSONResponse({"status": "the ledger cannot be read"}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """Whether requests may be sent here: ledger, artifacts and examples are as they must be."""
    web = web_of(request)
    if (missing := _waits_for(web, request.app.state.warming)) is None:
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": f"it waits for {missing}"}, 503)


def _waits_for(web: Web, warming: Thread | None) -> str | None:
    """What is not as it must be, in a word that tells a stranger nothing."""
    try:
        with web.stores.ledger.read() as connection:
            present = MigrationContext.configure(connection).get_current_revision()
    except (sa.exc.DBAPIError, TryAgain):
        return "the ledger"
    if present != _newest_migration():
        return "the ledger's migration"
    if not _can_write(web.stores.artifacts.root):
        return "the artifacts"
    return "the examples" if warming is not None and warming.is_alive() else None


@cache
def _newest_migration() -> str | None:
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def _can_write(root: Path) -> bool:
    """Whether a byte can be written where artifacts stand, or will stand."""
    folder = next(each for each in (root, *root.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError:
        return False
    return True


def watcher(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(bearer_key)],
) -> None:
    """Let this machine look without a key, and any other with one.

    How much work waits, and how fast it is done, is nobody's business outside; on the loopback
    address only who may look at the ledger's file anyway can ask.
    """
    web = web_of(request)
    if is_heard_by_others(web.host, web.project.settings.web.public_url):
        by_key(web, request, bearer.credentials if bearer else other_key(request))


@router.get("/metrics", dependencies=[Depends(watcher)])
def metrics(request: Request) -> Response:
    """Counts of the ledger in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_LedgerCounts(web_of(request)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _LedgerCounts:
    """What Prometheus collects: one look at the ledger each time."""

    def __init__(self, web: Web):
        self._web = web

    def collect(self) -> Iterable[Metric]:
        """The counts of this moment."""
        with self._web.stores.ledger.read() as connection:
            # All of them, before the connection is given back.
            return [*_counts(connection), *_inbox_counts(self._web), *_served_counts(self._web)]


def _counts(connection: sa.Connection) -> Iterator[Metric]:
    number = sa.func.count()
    items = GaugeMetricFamily("flywheel_items", "Items of the queues.", labels=["status"])
    by_status = sa.select(queue_items.c.status, number).group_by(queue_items.c.status)
    found = {row.status: row[1] for row in connection.execute(by_status)}
    for status in get_args(ItemStatus):
        items.add_metric([status], found.get(status, 0))
    yield items
    yield _gauge("oldest_open_item_age_seconds", "Age of the oldest open item.", _age_s(connection))
    live = sa.select(number).select_from(claims).where(claims.c.claimed_until > now())
    yield _gauge("live_claims", "Items on somebody's desk.", connection.scalar(live))
    documents = sa.select(number).select_from(trace_documents)
    yield _gauge("documents", "Traces that can be shown.", connection.scalar(documents))
    made = CounterMetricFamily(
        "flywheel_decisions", "Decisions and what else people added.", labels=["kind"]
    )
    by_kind = sa.select(decisions.c.kind, number).group_by(decisions.c.kind)
    for kind, n in connection.execute(by_kind.order_by(decisions.c.kind)):
        made.add_metric([kind], n)
    yield made


def _inbox_counts(web: Web) -> Iterator[Metric]:
    waiting = fill_of(web.stores.ledger)
    yield _gauge("inbox_requests", "Requests with traces that wait.", waiting.rows)
    yield _gauge("inbox_bytes", "Bytes of them, as they were sent.", waiting.n_bytes)
    limit = web.project.settings.traces.inbox_mb * 1_000_000
    yield _gauge("inbox_limit_bytes", "Bytes from which on more are refused.", limit)
    yield _gauge("inbox_spans", "Spans and traces in them.", waiting.spans)
    yield _gauge("inbox_oldest_age_seconds", "Age of the oldest of them.", waiting.oldest_age_s)
    words = "Requests that this server refused since the inbox was full."
    yield CounterMetricFamily("flywheel_inbox_refused", words, value=web.inbox.refused)


def _served_counts(web: Web) -> Iterator[Metric]:
    """Of this server since its start."""
    serving = web.examples.serving()
    counted = {
        "requests": ("Requests for examples.", serving.requests),
        "served": ("Examples that were served.", serving.examples),
        "empty": ("Requests that nothing was like.", serving.empty),
        "rows_lost": ("Rows of served examples that could not be written.", serving.lost),
    }
    for name, (words, n) in counted.items():
        yield CounterMetricFamily(f"flywheel_few_shots_{name}", words, value=n)
    yield _gauge("examples_published", "Examples in the index that is served.", serving.published)
    yield _gauge("examples_recent", "Examples decided since, in memory.", serving.tail)
    yield _gauge("served_rows_waiting", "Rows that wait to be written.", serving.waiting)


def _gauge(name: str, words: str, value: float | None) -> Metric:
    return GaugeMetricFamily(f"flywheel_{name}", words, value=value or 0)


def _age_s(connection: sa.Connection) -> float:
    oldest = connection.scalar(
        sa.select(sa.func.min(queue_items.c.queued_at)).where(
            queue_items.c.status.in_(("pending", "disputed"))
        )
    )
    return 0.0 if oldest is None else (now() - in_utc(oldest)).total_seconds()

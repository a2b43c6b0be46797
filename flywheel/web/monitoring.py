"""For machines that watch the server: whether it works, and what is in the ledger.

The ledger in, `/healthz` and Prometheus's text out; the one idea is that everything is counted when
it is asked for, so that nothing runs in between.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, get_args

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Security
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from flywheel.records import ItemStatus
from flywheel.store.ledger import Ledger, in_utc, now
from flywheel.store.tables import claims, decisions, queue_items, trace_documents
from flywheel.web.access import bearer_key, by_key
from flywheel.web.context import web_of
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
        by_key(web, request, bearer)


@router.get("/metrics", dependencies=[Depends(watcher)])
def metrics(request: Request) -> Response:
    """Counts of the ledger in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_LedgerCounts(web_of(request).stores.ledger))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _LedgerCounts:
    """What Prometheus collects: one look at the ledger each time."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger

    def collect(self) -> Iterable[Metric]:
        """The counts of this moment."""
        with self._ledger.read() as connection:
            # All of them, before the connection is given back.
            return list(_counts(connection))


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


def _gauge(name: str, words: str, value: float | None) -> Metric:
    return GaugeMetricFamily(f"flywheel_{name}", words, value=value or 0)


def _age_s(connection: sa.Connection) -> float:
    oldest = connection.scalar(
        sa.select(sa.func.min(queue_items.c.queued_at)).where(
            queue_items.c.status.in_(("pending", "disputed"))
        )
    )
    return 0.0 if oldest is None else (now() - in_utc(oldest)).total_seconds()

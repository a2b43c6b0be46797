"""The audit log: who did what and when, as a page and as a file.

Rows of `audit_log` out; the one idea is that nothing here can change one.
"""

import json
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from flywheel.errors import BadInput
from flywheel.store.ledger import Ledger, in_utc, record_action
from flywheel.store.tables import audit_log
from flywheel.web.access import Actor, may
from flywheel.web.accounts import MAX_NAME
from flywheel.web.context import web_of
from flywheel.web.pages import page

router = APIRouter()

PAGE_SIZE = 100
# Entries of one look at the ledger while all of them are sent.
BATCH = 2_000

Auditor = Annotated[Actor, Depends(may("audit"))]


@router.get("/audit")
def show_audit_log(
    request: Request,
    actor: Auditor,
    who: Annotated[str, Query(max_length=4 * MAX_NAME)] = "",
    action: Annotated[str, Query(max_length=40)] = "",
    day: Annotated[str, Query(max_length=10)] = "",
    before: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
) -> Response:
    """The entries that match, the newest first; `before` is the entry that a page begins below."""
    conditions = _conditions(who, action, _day(day))
    entries = audit_log.c
    below = [] if before is None else [entries.entry_id < before]
    listed = sa.select(audit_log).where(*conditions, *below).order_by(entries.entry_id.desc())
    count = sa.select(sa.func.count()).select_from(audit_log)
    with web_of(request).stores.ledger.read() as connection:
        rows = connection.execute(listed.limit(PAGE_SIZE + 1)).mappings().all()
        n_all = connection.execute(count).scalar_one()
        n_matching = connection.execute(count.where(*conditions)).scalar_one()
        known = sa.select(entries.action).distinct().order_by(entries.action)
        actions = connection.scalars(known).all()
    return page(
        request,
        actor,
        "audit.html",
        entries=[_entry(row) for row in rows[:PAGE_SIZE]],
        older=rows[PAGE_SIZE - 1]["entry_id"] if len(rows) > PAGE_SIZE else None,
        n_matching=n_matching,
        n_all=n_all,
        actions=actions,
        asked={"who": who, "action": action, "day": day},
        is_newest=before is None,
    )


@router.get("/audit.jsonl")
def export_audit_log(request: Request, actor: Auditor) -> StreamingResponse:
    """Every entry as JSON lines, the oldest first; that it was taken is an entry itself."""
    ledger = web_of(request).stores.ledger
    with ledger.begin() as connection:
        record_action(connection, actor.name, "export", "audit_log", format="jsonl")
    return StreamingResponse(
        _lines(ledger),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="audit.jsonl"'},
    )


def _lines(ledger: Ledger) -> Iterator[str]:
    last = 0
    while True:
        following = (
            sa.select(audit_log)
            .where(audit_log.c.entry_id > last)
            .order_by(audit_log.c.entry_id)
            .limit(BATCH)
        )
        with ledger.read() as connection:
            rows = connection.execute(following).mappings().all()
        if not rows:
            return
        last = rows[-1]["entry_id"]
        yield "".join(f"{json.dumps(_plain(row))}\n" for row in rows)


def _plain(row: sa.RowMapping) -> dict[str, Any]:
    return {
        **row,
        "happened_at": in_utc(row["happened_at"]).isoformat(),
        "detail": json.loads(row["detail"]),
    }


def _entry(row: sa.RowMapping) -> dict[str, Any]:
    detail = json.loads(row["detail"])
    return {
        **row,
        "happened_at": f"{in_utc(row['happened_at']):%Y-%m-%d %H:%M:%S}",
        "detail": ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in detail.items()),
    }


def _conditions(who: str, action: str, day: date | None) -> list[sa.ColumnElement[bool]]:
    conditions = []
    if who:
        conditions.append(audit_log.c.actor == who)
    if action:
        conditions.append(audit_log.c.action == action)
    if day is not None:
        start = in_utc(datetime.combine(day, time()))
        conditions += [
            audit_log.c.happened_at >= start,
            audit_log.c.happened_at < start + timedelta(days=1),
        ]
    return conditions


def _day(text: str) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text!r} is no day; write it as 2026-03-01") from None
    if day == date.max:
        raise BadInput("there is no day after that one")
    return day

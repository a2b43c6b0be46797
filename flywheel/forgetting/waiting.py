"""The inbox without those who must go: their spans are cut out of what waits.

Rows of the inbox in, the same rows with fewer spans out, or gone. All rows are read first: the
spans of one trace may stand in several requests, of which one names the user.
"""

import json
from collections import Counter

import sqlalchemy as sa

from flywheel.store.ledger import Ledger
from flywheel.store.tables import inbox
from flywheel.traces.forgotten import Known, Sieve
from flywheel.traces.inbox import InboxKind, inbox_row, plain_body
from flywheel.traces.otlp_wire import as_line, decode_request, spans_of


def sift_inbox(ledger: Ledger, known: Known) -> Counter[str]:
    """Cut out of the inbox what must go; how many requests changed."""
    n: Counter[str] = Counter()
    sieve = Sieve(known)
    with ledger.begin() as connection:
        batch_ids = connection.scalars(sa.select(inbox.c.batch_id).order_by(inbox.c.batch_id)).all()
        for is_last_look in (False, True):
            for batch_id in batch_ids:
                row = connection.execute(sa.select(inbox).where(inbox.c.batch_id == batch_id)).one()
                lines = _lines(row)
                left = [sieve.sift(line, row.app) for line in lines]
                if is_last_look and left != lines:
                    _put_back(connection, row, [line for line in left if line.strip()])
                    n["requests in the inbox"] += 1
    return n


def _lines(row: "sa.Row[tuple[object, ...]]") -> list[bytes]:
    body = plain_body(row.body)
    if row.kind == "flywheel":
        return body.splitlines()
    return [as_line(decode_request(body, "protobuf" if row.kind == "otlp" else "json"))]


def _put_back(
    connection: sa.Connection, row: "sa.Row[tuple[object, ...]]", lines: list[bytes]
) -> None:
    this = inbox.c.batch_id == row.batch_id
    if not lines:
        connection.execute(inbox.delete().where(this))
        return
    kind: InboxKind = "flywheel" if row.kind == "flywheel" else "otlp-json"
    n_spans = len(lines) if kind == "flywheel" else len(list(spans_of(json.loads(lines[0]))))
    values = inbox_row(kind, row.app, b"\n".join(lines), n_spans, row.received_at)
    connection.execute(inbox.update().where(this).values(values))

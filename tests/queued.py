"""Items for tests of the queue, put straight into the ledger."""

from datetime import timedelta

import sqlalchemy as sa

from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import claims, decisions, queue_items, users
from tests.judged import DAY, said


def add_items(ledger: Ledger, *trace_ids: str, **fields: object) -> list[int]:
    """A waiting item for each trace, the first the most urgent; their numbers."""
    item = {"queue": "review", "app": "shop", "day": DAY, "reason": "low_score"}
    item |= {"draw_probability": 0.5, "audit_probability": 0.1, "probability": 0.93}
    item |= {"status": "pending", "reviewers_needed": 1, "queued_at": now()}
    rows = [
        item | {"trace_id": name, "content_hash": f"v1-{name}", "priority": 1 - i / 1000} | fields
        for i, name in enumerate(trace_ids)
    ]
    added = queue_items.insert().returning(queue_items.c.item_id, sort_by_parameter_order=True)
    with ledger.begin() as connection:
        return list(connection.scalars(added, rows))


def add_people(ledger: Ledger, *names: str, role: str = "reviewer", is_active: bool = True) -> None:
    """Somebody of each name who may review."""
    user = {"role": role, "session_epoch": 0, "is_active": is_active, "created_at": now()}
    with ledger.begin() as connection:
        connection.execute(users.insert(), [user | {"name": name} for name in names])


def note(ledger: Ledger, trace_id: str, reviewer: str, kind: str) -> int:
    """A row of this kind on the trace, such as a skip; its id."""
    given = said(trace_id, True, reviewer)
    row = {"kind": kind, "trace_id": trace_id, "content_hash": given.content_hash}
    row |= {"reviewer": reviewer, "rubric_version": "1", "is_audit": False, "decided_at": now()}
    appended = decisions.insert().values(row).returning(decisions.c.decision_id)
    with ledger.begin() as connection:
        return int(connection.execute(appended).scalar_one())


def let_expire(ledger: Ledger, reviewer: str) -> None:
    """Put the end of the reviewer's claims into the past."""
    with ledger.begin() as connection:
        over = claims.update().where(claims.c.reviewer == reviewer)
        connection.execute(over.values(claimed_until=now() - timedelta(seconds=1)))


def rows_of(ledger: Ledger, table: sa.Table) -> list[sa.RowMapping]:
    """All rows of a table, by its key."""
    with ledger.read() as connection:
        return list(connection.execute(sa.select(table).order_by(*table.primary_key)).mappings())

"""Which days got traces when: what the warehouse has loaded, told to the ledger.

Days of imports in; days that something came for, and since when they are quiet, out. The one idea
is that whoever wonders what to work on again asks the ledger, and never waits for the warehouse.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from flywheel.store import Stores
from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import imports
from flywheel.store.warehouse import Connection


@dataclass(frozen=True, slots=True)
class TouchedDay:
    """A UTC day for which traces came; `watermark` is the newest import that brought some."""

    day: date
    watermark: int
    last_at: datetime


def touched_days(ledger: Ledger, since: datetime) -> list[TouchedDay]:
    """The days for which anything was imported since that moment, oldest first."""
    columns = imports.c["import_id", "imported_at", "days"]
    recent = sa.select(*columns).where(imports.c.imported_at >= since, imports.c.days.is_not(None))
    with ledger.read() as connection:
        rows = connection.execute(recent.order_by(imports.c.import_id)).all()
    newest: dict[str, TouchedDay] = {}
    for import_id, imported_at, days in rows:
        for day in json.loads(days):
            newest[day] = TouchedDay(date.fromisoformat(day), import_id, in_utc(imported_at))
    return [newest[day] for day in sorted(newest)]


def tell_days(stores: Stores, connection: Connection, import_ids: Iterable[int]) -> None:
    """Tell the ledger which days these imports touched, as the warehouse knows them."""
    for import_id in import_ids:
        found = connection.rows("traces/days_of_import", import_id=import_id)
        days = json.dumps([str(day) for (day,) in found])
        told = imports.update().where(imports.c.import_id == import_id).values(days=days)
        with stores.ledger.begin() as ledger:
            ledger.execute(told)

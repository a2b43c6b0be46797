"""Traces that have grown too old: removed by the code that forgets a user, without a tombstone.

Ages of the settings in, a receipt out, or nothing where nothing is too old. What an application was
served, and which arm it was given, goes with the conversation, or at the age at which it would have
gone where none was ever sent.
"""

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
import sqlalchemy as sa

from flywheel.forgetting.forgetting import Receipt, alone, remove_gone
from flywheel.forgetting.selection import Aged, owners, select_gone
from flywheel.settings import Settings
from flywheel.store import Project, Stores
from flywheel.store.ledger import now
from flywheel.store.tables import experiments, exposures, forgettings, served_examples

# Traces that are removed at once: each time every archive is read.
AT_ONCE = 100_000


def expire(project: Project) -> Receipt | None:
    """Remove traces older than `traces.retention_days`, or `[retention.APP] days` of their own.

    None where nothing is too old. A receipt counts what went, in the ledger too. What writers that
    were killed have left among the artifacts goes as well.
    """
    stores = project.stores
    stores.artifacts.sweep(now())
    with alone(project):
        today = now().date()
        aged = aged_traces(stores, project.settings, today)
        removed: dict[str, int] = dict(_remove_served(stores, project.settings, today))
        if not aged and not removed:
            return None
        left: set[str] = set()
        ended = _ended_sessions(stores, aged)
        for start in range(0, len(aged), AT_ONCE):
            known = Aged(frozenset(aged[start : start + AT_ONCE]))
            gone = select_gone(project, known)
            gone.sessions |= {ended[i] for i in known.traces if i in ended}
            n, in_place = remove_gone(project, known, gone)
            removed = {k: removed.get(k, 0) + n[k] for k in sorted({*removed, *+n})}
            left |= set(in_place)
        made = Receipt(
            f"e-{secrets.token_hex(8)}",
            now().isoformat(),
            "",
            "",
            removed,
            left_in_place=tuple(sorted(left)),
        )
        with stores.ledger.begin() as ledger:
            ledger.execute(
                forgettings.insert().values(
                    forgetting_id=made.forgetting_id,
                    user_hash="",
                    app="",
                    receipt=json.dumps(asdict(made)),
                    forgotten_at=now(),
                )
            )
        is_clean = stores.ledger.vacuum()
    return made if is_clean else Receipt(**asdict(made) | {"is_clean": False})


def aged_traces(stores: Stores, settings: Settings, today: date) -> list[str]:
    """Traces whose every version is older than its application allows."""
    limits = {app: _first_day(table.days, today) for app, table in settings.retention.items()}
    first_day = _first_day(settings.traces.retention_days, today)
    if first_day is None and not any(limits.values()):
        return []
    with stores.warehouse.read() as connection, connection.given(limits=_table(limits)):
        return [str(i) for (i,) in connection.rows("forgetting/aged", first_day=first_day)]


def _ended_sessions(stores: Stores, aged: list[str]) -> dict[str, str]:
    """The session of each of these traces, where every trace of it is one of them."""
    if not aged:
        return {}
    going = set(aged)
    with stores.warehouse.read() as connection:
        known = owners(connection)
    going_on = {one.session_id for one in known if one.trace_id not in going}
    return {
        one.trace_id: one.session_id
        for one in known
        if one.trace_id in going and one.session_id not in going_on
    }


def _remove_served(stores: Stores, settings: Settings, today: date) -> Counter[str]:
    """Delete what was served or given too long ago, whether or not a trace came of it.

    An experiment of all applications does not say in which of them somebody was: the longest age
    counts.
    """
    n: Counter[str] = Counter()
    with stores.ledger.begin() as ledger:
        apps = ledger.scalars(sa.select(served_examples.c.app).distinct()).all()
        for app in apps:
            if before := _before(settings, app, today):
                mine = (served_examples.c.app == app, served_examples.c.served_at < before)
                deleted = ledger.execute(served_examples.delete().where(*mine))
                n["ledger: served_examples"] += deleted.rowcount
        for name, app in ledger.execute(sa.select(experiments.c.name, experiments.c.app)).all():
            if before := _before(settings, app, today):
                given = (exposures.c.experiment == name, exposures.c.first_at < before)
                deleted = ledger.execute(exposures.delete().where(*given))
                n["ledger: exposures"] += deleted.rowcount
    return +n


def _before(settings: Settings, app: str, today: date) -> datetime | None:
    """Until when what is of an application, or of all, is too old; None where nothing is."""
    own, every = settings.retention, settings.traces.retention_days
    ages = [own[app].days if app in own else every]
    if not app:
        ages += [table.days for table in own.values()]
    first_day = None if 0 in ages else _first_day(max(ages), today)
    return datetime.combine(first_day, time(), UTC) if first_day else None


def _first_day(days: int, today: date) -> date | None:
    """The first day that stays; None where all do."""
    return today - timedelta(days=days) if days else None


def _table(limits: Mapping[str, date | None]) -> pa.Table:
    return pa.table(
        {
            "app": pa.array(list(limits), pa.string()),
            "first_day": pa.array(list(limits.values()), pa.date32()),
        }
    )

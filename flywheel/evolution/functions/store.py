"""The store of functions: every version that ever counted, and which of them agents may call now.

Records in and out of the ledger. The one idea is that a version is never changed or lost, and that
the live one of a name is a pointer that moves, forward and back, with who and why in the audit log.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from flywheel.errors import BadInput, NotFound, Refused
from flywheel.evolution.functions.record import FunctionRecord, read_record
from flywheel.review.rows import storable
from flywheel.store.ledger import Ledger, in_utc, now, record_action
from flywheel.store.tables import audit_log, functions, live_functions

# As the audit log has it.
_MOVED = "set_function"


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """A version of a function; `is_live` where agents may call it now."""

    record: FunctionRecord
    version: str
    made_at: datetime
    is_live: bool
    live_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class FunctionMove:
    """Who moved a function from which version to which; None is none."""

    happened_at: datetime
    actor: str
    previous: str | None
    version: str | None
    why: str


def live_records(ledger: Ledger) -> dict[str, FunctionRecord]:
    """The functions that agents may call now, by name, in the order of their names."""
    return {one.record.name: one.record for one in list_functions(ledger) if one.is_live}


def live_record(ledger: Ledger, name: str) -> FunctionRecord | None:
    """The live function of a name; None where there is none."""
    with ledger.read() as connection:
        found = connection.execute(_versions().where(live_functions.c.name == name)).first()
    return read_record(found.record) if found else None


def list_functions(ledger: Ledger, name: str | None = None) -> list[FunctionVersion]:
    """Every version, by name, the newest first; of one function where it is named."""
    wanted = _versions().order_by(
        functions.c.name, functions.c.made_at.desc(), functions.c.version.desc()
    )
    if name is not None:
        wanted = wanted.where(functions.c.name == name)
    with ledger.read() as connection:
        rows = connection.execute(wanted).all()
    return [
        FunctionVersion(
            record=read_record(row.record),
            version=row.version,
            made_at=in_utc(row.made_at),
            is_live=row.since is not None,
            live_since=in_utc(row.since) if row.since else None,
        )
        for row in rows
    ]


def find_version(ledger: Ledger, name: str, version: str) -> FunctionVersion:
    """A version of a function, by its hash or the beginning of it; raises NotFound, BadInput."""
    known = list_functions(ledger, name)
    if not known:
        raise NotFound("function", name, _names(list_functions(ledger)))
    found = [one for one in known if one.version.startswith(version)] if version else []
    if not found:
        raise NotFound(f"version of {name}", version, [one.version[:12] for one in known])
    if len(found) > 1:
        raise BadInput(f"{len(found)} versions of {name} begin with {version!r}; write more of it")
    return found[0]


def put_live(ledger: Ledger, record: FunctionRecord, actor: str, why: str) -> str:
    """Keep a record and let agents call it from now on; its version.

    Nothing happens where it is live already.
    """
    row = {"version": record.version, "name": record.name}
    with ledger.begin() as connection:
        is_it = functions.c.version == record.version
        if not connection.execute(sa.select(functions.c.name).where(is_it)).first():
            made = {"record": storable(record.text), "made_at": now()}
            connection.execute(functions.insert().values(row | made))
        was = _live_version(connection, record.name)
        if was != record.version:
            connection.execute(_gone(record.name))
            connection.execute(live_functions.insert().values(row | {"since": now()}))
            detail = {"previous": was, "version": record.version, "why": why}
            record_action(connection, actor, _MOVED, f"function {record.name}", **detail)
    return record.version


def take_away(ledger: Ledger, name: str, actor: str, why: str) -> None:
    """Let agents call no function of this name; its versions stay."""
    with ledger.begin() as connection:
        was = _live_version(connection, name)
        if was is not None:
            connection.execute(_gone(name))
            detail = {"previous": was, "version": None, "why": why}
            record_action(connection, actor, _MOVED, f"function {name}", **detail)


def roll_back(ledger: Ledger, name: str, version: str, actor: str, why: str) -> FunctionVersion:
    """Make a version that was kept the live one; raises NotFound, Refused where it is already."""
    found = find_version(ledger, name, version)
    if found.is_live:
        raise Refused(f"version {found.version[:12]} of {name} is live already")
    put_live(ledger, found.record, actor, why)
    return found


def list_moves(ledger: Ledger, name: str, limit: int = 20) -> list[FunctionMove]:
    """Who moved the live version of a name and why, the last first."""
    wanted = (
        sa.select(audit_log)
        .where(audit_log.c.action == _MOVED, audit_log.c.subject == f"function {name}")
        .order_by(audit_log.c.entry_id.desc())
        .limit(limit)
    )
    with ledger.read() as connection:
        rows = connection.execute(wanted).all()
    return [
        FunctionMove(in_utc(row.happened_at), row.actor, **json.loads(row.detail)) for row in rows
    ]


def _versions() -> "sa.Select[tuple[str, str, datetime, datetime | None]]":
    is_live = (live_functions.c.name == functions.c.name) & (
        live_functions.c.version == functions.c.version
    )
    columns = (functions.c.version, functions.c.record, functions.c.made_at, live_functions.c.since)
    return sa.select(*columns).join(live_functions, is_live, isouter=True)


def _live_version(connection: sa.Connection, name: str) -> str | None:
    wanted = sa.select(live_functions.c.version).where(live_functions.c.name == name)
    return connection.scalar(wanted)


def _gone(name: str) -> sa.Delete:
    return live_functions.delete().where(live_functions.c.name == name)


def _names(versions: Iterable[FunctionVersion]) -> list[str]:
    return sorted({one.record.name for one in versions})

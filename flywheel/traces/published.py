"""Which documents are published, as the ledger knows it.

Versions of traces and the places of their documents in packs in, rows of `trace_documents` out. The
one idea is that a pack stands before the ledger speaks of it.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import trace_documents

# Keys in one statement, well below SQLite's limit on variables.
_KEYS = 500
_KEY = trace_documents.c["trace_id", "content_hash"]
_PLACE_COLUMNS = ("artifact", "byte_offset", "byte_length", "published_at")

# Id of a trace, hash of what it says.
Version: TypeAlias = tuple[str, str]


def unpublished(ledger: Ledger, versions: Iterable[Version]) -> list[Version]:
    """Those of the versions that have no document yet, in order."""
    wanted = sorted(set(versions))
    trace_ids = sorted({trace_id for trace_id, _ in wanted})
    table, published = trace_documents.c, set()
    with ledger.read() as connection:
        for start in range(0, len(trace_ids), _KEYS):
            chunk = trace_ids[start : start + _KEYS]
            found = sa.select(table.trace_id, table.content_hash).where(table.trace_id.in_(chunk))
            published |= {tuple(row) for row in connection.execute(found)}
    return [version for version in wanted if version not in published]


def announce(
    ledger: Ledger, rows: Iterable[Mapping[str, object]], artifact: str, replaces: bool = False
) -> int:
    """Tell the ledger of the documents in a pack; how many it did not know, or now knows anew.

    One that another process has published meanwhile stays, unless this one `replaces` it since it
    has spans that have come since.
    """
    made = {"artifact": artifact, "published_at": now()}
    values = [{**row, **made} for row in rows]
    if not values:
        return 0
    with ledger.begin() as connection:
        is_postgres = connection.dialect.name == "postgresql"
        insert = (postgresql if is_postgres else sqlite).insert(trace_documents)
        place = {name: insert.excluded[name] for name in _PLACE_COLUMNS}
        keys = ["trace_id", "content_hash"]
        added = (
            insert.on_conflict_do_update(index_elements=keys, set_=place)
            if replaces
            else insert.on_conflict_do_nothing()
        )
        new = connection.execute(added.returning(*_KEY), values).all()
        _put_last(connection, dict(map(tuple, new)))
    return len(new)


def _put_last(connection: sa.Connection, newest: Mapping[str, str]) -> None:
    """Let these versions (trace id -> content hash) be the last of their traces."""
    table = trace_documents.c
    pairs = list(newest.items())
    for start in range(0, len(pairs), _KEYS):
        chunk = pairs[start : start + _KEYS]
        traces = [trace_id for trace_id, _ in chunk]
        # As pairs: the same words are the last ones of one trace and earlier ones of another.
        is_newest = sa.tuple_(table.trace_id, table.content_hash).in_(chunk)
        connection.execute(
            trace_documents.update()
            .where(table.trace_id.in_(traces), table.is_last != is_newest)
            .values(is_last=is_newest)
        )

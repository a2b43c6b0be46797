"""The ledger as one SQLite file, whichever database it stands on, and back onto either.

A ledger in, a file of one moment out; the one idea is that the file is itself a ledger, so that
what was on Postgres is restored onto SQLite and the other way, by the tables that are known.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

from flywheel.errors import BadArtifact, Refused, TryAgain
from flywheel.registry.folders import KINDS as VERSION_KINDS
from flywheel.store.ledger import Ledger, ledger_url, unreachable
from flywheel.store.moving import copy_rows, move_ledger
from flywheel.store.snapshots import KIND as SNAPSHOTS
from flywheel.store.tables import (
    imports,
    metadata,
    publications,
    snapshots,
    trace_documents,
    versions,
)
from flywheel.traces.documents import KIND as DOCUMENTS
from flywheel.traces.importing import RAW

_OF_ONE_KIND = {
    RAW: imports.c.artifact,
    DOCUMENTS: trace_documents.c.artifact,
    SNAPSHOTS: snapshots.c.artifact,
}


def write_ledger_file(ledger: Ledger, target: Path) -> str:
    """Put a consistent copy of the ledger at `target`; the migration that it is at.

    On SQLite its own online copy, on Postgres the rows of one snapshot, compared when they are
    there: nobody waits for it. Raises BadArtifact where the copy is no sound database, which says
    that the ledger itself is none, and as `copy_rows`.
    """
    with ledger.read() as connection:
        is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        source = str(sa.make_url(ledger.url).database)
        with closing(sqlite3.connect(source)) as here, closing(sqlite3.connect(target)) as there:
            here.backup(there)
    else:
        fresh = Ledger(f"sqlite:///{target}")
        try:
            with _one_moment(ledger) as there, fresh.begin() as here:
                copy_rows(there, here)
                _keep_counter(there, here)
        finally:
            fresh.close()
    return _closed(target)


def read_ledger_file(source: Path, url: str) -> int:
    """Write the rows of a ledger's file into an empty database on a server; their number.

    Raises as `move_ledger`: where the database is not empty, or a row cannot stand in it.
    """
    own = Ledger(f"sqlite:///{source}")
    try:
        # Opened for writing, so that what an earlier version left is brought up to date.
        with own.begin():
            pass
        return move_ledger(own, url).rows
    finally:
        own.close()


def refuse_filled(url: str) -> None:
    """Raise Refused where a database on a server holds any table, before it is restored to."""
    place = ledger_url(url)
    engine = sa.create_engine(place, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            found = sa.inspect(connection).get_table_names()
    except sa.exc.OperationalError as error:
        raise TryAgain(unreachable(place, error)) from error
    if found:
        shown = place.render_as_string(hide_password=True)
        raise Refused(f"{shown} holds {len(found)} tables already; name an empty database")


def named_artifacts(path: Path) -> set[tuple[str, ...]]:
    """What a ledger's file names among the artifacts: places, any one of which is right."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        found: set[tuple[str, ...]] = {
            (f"{kind}/{name}",)
            for kind, column in _OF_ONE_KIND.items()
            for name in connection.scalars(sa.select(column).distinct())
            if name is not None
        }
        for name, artifact in connection.execute(
            sa.select(publications.c.name, publications.c.artifact)
        ):
            found.add((f"{name}/{artifact}",))
        for artifact in connection.scalars(sa.select(versions.c.artifact)):
            if artifact is not None:
                found.add(tuple(f"{kind}/{artifact}" for kind in VERSION_KINDS))
    engine.dispose()
    return found


def published_in(path: Path) -> dict[str, str]:
    """What a ledger's file says is published: an artifact by its name."""
    with closing(sqlite3.connect(path)) as raw:
        return dict(raw.execute("select name, artifact from publications"))


def republished(path: Path, name: str, artifact: str) -> None:
    """Make a ledger's file say that this artifact is published under the name."""
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("update publications set artifact = ? where name = ?", (artifact, name))


@contextmanager
def _one_moment(ledger: Ledger) -> Iterator[sa.Connection]:
    engine = sa.create_engine(ledger.url, isolation_level="REPEATABLE READ")
    try:
        with engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("set transaction read only")
            yield connection
    finally:
        engine.dispose()


def _keep_counter(postgres: sa.Connection, sqlite: sa.Connection) -> None:
    """The last number that was given out in the tables that never give one twice."""
    for table in metadata.sorted_tables:
        if not table.dialect_options["sqlite"]["autoincrement"]:
            continue
        (key,) = table.primary_key.columns
        sequence = sa.func.pg_get_serial_sequence(table.name, key.name)
        last = postgres.scalar(sa.select(sa.func.pg_sequence_last_value(sequence.cast(sa.Text))))
        if last:
            sqlite.exec_driver_sql("delete from sqlite_sequence where name = ?", (table.name,))
            values = (table.name, int(last))
            sqlite.exec_driver_sql("insert into sqlite_sequence values (?, ?)", values)


def _closed(path: Path) -> str:
    """One file without a log beside it, found sound; the migration that it is at."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as raw:
            raw.execute("pragma journal_mode = delete")
            (state,) = raw.execute("pragma quick_check(1)").fetchone()
            if state == "ok":
                (revision,) = raw.execute("select version_num from alembic_version").fetchone()
                return str(revision)
    except sqlite3.DatabaseError as error:
        state = str(error)
    raise BadArtifact(f"the ledger is damaged, so it was not backed up: {state.splitlines()[0]}")

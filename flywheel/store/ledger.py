"""The ledger: what must never be lost, in SQLite by default and in Postgres at scale.

Rows of `store/tables.py` in and out, through SQLAlchemy; the one idea is that a commit here is the
only promise the product makes. SQLite runs in WAL mode with full syncs, and every transaction
that may write starts as a writer, since a plain BEGIN that later wants to write fails when two do.
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Lock, local

import alembic.command
import alembic.config
import sqlalchemy as sa

from flywheel.store import tables

BUSY_TIMEOUT_MS = 30_000
# Execution option of a transaction that is not begun as a writer.
_READS_ONLY = "flywheel_reads_only"

_ENTRY = tables.audit_log.insert()


class Ledger:
    """Transactions on the ledger; its tables are brought up to date on first use."""

    def __init__(self, url: str):
        self.url = url
        self._opening = Lock()
        # While another connection writes, SQLite sleeps and tries again, and who is unlucky does so
        # for seconds: the threads of one process take turns instead.
        is_sqlite = url.startswith("sqlite")
        self._turn: AbstractContextManager[object] = Lock() if is_sqlite else nullcontext()
        # The transaction that a thread is in.
        self._under_way = local()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction: committed when the block ends well, rolled back otherwise.

        Inside a transaction of the same thread it is a part of that one.
        """
        outer = self._outer()
        if outer is not None:
            yield outer
            return
        with self._turn, self._engine.begin() as connection:
            self._under_way.connection = connection
            try:
                yield connection
            finally:
                self._under_way.connection = None

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent look at the ledger, that never waits for a writer and never writes."""
        outer = self._outer()
        if outer is not None:
            yield outer
            return
        with self._engine.connect() as connection:
            yield connection.execution_options(**{_READS_ONLY: True})

    def _outer(self) -> sa.Connection | None:
        connection: sa.Connection | None = getattr(self._under_way, "connection", None)
        return connection

    def close(self) -> None:
        """Let go of the connections; the next transaction opens new ones."""
        if "_opened" in self.__dict__:
            self._opened.dispose()

    @property
    def _engine(self) -> sa.Engine:
        # The web server's threads start together.
        with self._opening:
            return self._opened

    @cached_property
    def _opened(self) -> sa.Engine:
        url = sa.make_url(self.url)
        if url.get_backend_name() == "sqlite":
            if url.database:
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            # The connection that wrote last is used again: what it has read is still true.
            engine = sa.create_engine(
                url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, pool_use_lifo=True
            )
            sa.event.listen(engine, "connect", _prepare_sqlite)
            sa.event.listen(engine, "begin", _begin_as_writer)
        else:
            engine = sa.create_engine(url, pool_pre_ping=True)
        _migrate(engine)
        return engine


def _prepare_sqlite(connection: "sa.engine.interfaces.DBAPIConnection", _: object) -> None:
    # The driver's own BEGIN comes too late and is a reader's; _begin_as_writer takes its place.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("pragma journal_mode = wal")
    cursor.execute("pragma synchronous = full")
    cursor.execute("pragma foreign_keys = on")
    cursor.close()


def _begin_as_writer(connection: sa.Connection) -> None:
    reads_only = connection.get_execution_options().get(_READS_ONLY, False)
    connection.exec_driver_sql("begin" if reads_only else "begin immediate")


def _migrate(engine: sa.Engine) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Two processes that start at once: the second waits, and finds nothing to do.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x666C7977)))
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


def in_utc(when: datetime) -> datetime:
    """The moment in UTC; one without a zone is UTC already, as SQLite gives it back."""
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def record_action(
    connection: sa.Connection, actor: str, action: str, subject: str, **detail: object
) -> None:
    """Add an entry to the audit log, in the caller's transaction."""
    entry = {
        "happened_at": now(),
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": json.dumps(detail, sort_keys=True, default=str),
    }
    connection.execute(_ENTRY, entry)

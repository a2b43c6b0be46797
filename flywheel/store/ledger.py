"""The ledger: what must never be lost, in SQLite by default and in Postgres at scale.

Rows of `store/tables` in and out, through SQLAlchemy; the one idea is that a commit here is the
only promise the product makes. SQLite runs in WAL mode with full syncs, and every transaction
that may write starts as a writer, since a plain BEGIN that later wants to write fails when two do.
A file that was moved to a server takes no more: what is acknowledged there would be lost.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Lock, local

import alembic.command
import alembic.config
import sqlalchemy as sa

from flywheel.errors import BadSetting, TryAgain
from flywheel.store import tables

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 30_000
POSTGRES_DRIVER = "postgresql+psycopg2"
# Execution option of a transaction that is not begun as a writer.
_READS_ONLY = "flywheel_reads_only"

# What a statement is given: values by name or in order, once or for each of many rows.
_Set = Mapping[str, object] | Sequence[object]
_Given = _Set | Sequence[_Set]

_ENTRY = tables.audit_log.insert()


class Ledger:
    """Transactions on the ledger; its tables are brought up to date on first use."""

    def __init__(self, url: str):
        """Raises BadSetting where the URL is none, or of a database that no ledger stands on."""
        self._place = ledger_url(url)
        is_sqlite = self._place.get_backend_name() == "sqlite"
        self.url = url if is_sqlite else self._place.render_as_string(hide_password=False)
        self._opening = Lock()
        # While another connection writes, SQLite sleeps and tries again, and who is unlucky does so
        # for seconds: the threads of one process take turns instead.
        self._turn: AbstractContextManager[object] = Lock() if is_sqlite else nullcontext()
        self._moved = moved_note(self._place)
        # The transaction that a thread is in.
        self._under_way = local()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction: committed when the block ends well, rolled back otherwise.

        Inside a transaction of the same thread it is a part of that one. Raises TryAgain where the
        server cannot be reached, or where the file was moved to one.
        """
        outer = self._outer()
        if outer is not None:
            yield outer
            return
        with self.hold() as connection:
            # Behind the lock: who waited while it was moved is not let through.
            self._refuse_moved()
            self._under_way.connection = connection
            try:
                yield connection
            finally:
                self._under_way.connection = None

    @contextmanager
    def hold(self) -> Iterator[sa.Connection]:
        """A transaction as `begin`, on a file that was moved too; it is for who moves it."""
        with self._turn, self._connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent look at the ledger, that never waits for a writer and never writes."""
        outer = self._outer()
        if outer is not None:
            yield outer
            return
        with self._connect() as connection:
            yield connection.execution_options(**{_READS_ONLY: True})

    def _connect(self) -> sa.Connection:
        with _reaching(self._place):
            return self._engine.connect()

    def _outer(self) -> sa.Connection | None:
        connection: sa.Connection | None = getattr(self._under_way, "connection", None)
        return connection

    def _refuse_moved(self) -> None:
        if self._moved is not None and self._moved.exists():
            to = self._moved.read_text(encoding="utf-8").strip()
            raise TryAgain(
                f"this ledger was moved to {to}, and its old file takes nothing more; "
                "name the new one in ledger.url and start again"
            )

    def vacuum(self) -> bool:
        """Give back what was deleted, so that no byte of it stays in the files of the database.

        False where others read or wrote all the while, and a part of it may still be there; call it
        again. On Postgres every table is written anew; its archived log and replicas are its own.
        """
        engine = self._engine
        if engine.dialect.name == "postgresql":
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("vacuum full")
            return True
        with closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as raw:
            raw.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
            try:
                raw.execute("vacuum")
            except sqlite3.OperationalError:
                return False
            (is_busy, _, _) = raw.execute("pragma wal_checkpoint(truncate)").fetchone()
        return not is_busy

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
        url = self._place
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
            sa.event.listen(engine, "before_cursor_execute", _without_nul, retval=True)
        with engine.begin() as connection:
            migrate(connection)
        return engine


def ledger_url(url: str) -> sa.URL:
    """The URL, with the driver that is installed where it names a database only.

    Raises BadSetting; a password is in no sentence of it.
    """
    try:
        place = sa.make_url(url)
    except sa.exc.ArgumentError:
        place = sa.URL.create("nothing")
    name = place.get_backend_name()
    if name in ("postgresql", "postgres"):
        is_bare = place.drivername in ("postgresql", "postgres")
        return place.set(drivername=POSTGRES_DRIVER) if is_bare else place
    if name != "sqlite":
        raise BadSetting(
            "ledger.url is of neither SQLite nor Postgres; write sqlite:///FILE or "
            f"{POSTGRES_DRIVER}://USER@HOST/DATABASE"
        )
    return place


def moved_note(place: sa.URL) -> Path | None:
    """The file that says where a SQLite ledger was moved to; None where it can be no such file."""
    if place.get_backend_name() != "sqlite" or not place.database:
        return None
    return Path(f"{place.database}.moved")


@contextmanager
def _reaching(place: sa.URL) -> Iterator[None]:
    """The block; it raises TryAgain where no connection to a server comes about."""
    try:
        yield
    except sa.exc.OperationalError as error:
        if place.get_backend_name() == "sqlite":
            raise
        raise TryAgain(unreachable(place, error)) from error


def unreachable(place: sa.URL, error: sa.exc.DBAPIError) -> str:
    """One sentence on a server that gave no connection; without the password."""
    shown = place.render_as_string(hide_password=True)
    why = " ".join(str(error.orig).split())
    return f"the ledger {shown} cannot be reached: {why}"


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


def _without_nul(
    _: sa.Connection, __: object, statement: str, given: _Given, ___: object, is_many: bool
) -> tuple[str, _Given]:
    """Texts as Postgres can hold them: it has none with a NUL, and would refuse the whole row."""
    # Many rows in one statement come as many, and as one set of numbered names.
    has_sets = is_many and not isinstance(given, Mapping)
    sets: Sequence[_Set] = given if has_sets else [given]  # type: ignore[assignment]
    if not any("\0" in text for one in sets for text in _values(one) if isinstance(text, str)):
        return statement, given
    clean = [
        {name: _clean(value) for name, value in one.items()}
        if isinstance(one, Mapping)
        else tuple(map(_clean, one))
        for one in sets
    ]
    return statement, clean if has_sets else clean[0]


def _values(one: _Set) -> Iterable[object]:
    return one.values() if isinstance(one, Mapping) else one


def _clean(value: object) -> object:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def migrate(connection: sa.Connection) -> None:
    """Bring the ledger's tables up to date, in the transaction of the caller."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
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

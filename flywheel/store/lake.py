"""The warehouse past one machine: DuckLake, Parquet in a folder or bucket, a catalog in Postgres.

The same named statements in and the same rows out as of the file. The one idea is who waits for
whom: a reader waits for nobody and sees one moment, partitions of different days are written at
once, and everything else has the warehouse to itself by a lock of that Postgres, as the file has by
its own. DuckLake has no keys, so that what two processes insert at once would stand there twice.
"""

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg2

from flywheel.errors import BadSetting, Refused, WarehouseBusy
from flywheel.store.warehouse import Connection, Warehouse, literal, migrate

PREFIX = "ducklake:postgres:"
# The name in SQL, and the schema of the catalog's tables in Postgres.
NAME, CATALOG = "warehouse", "flywheel_warehouse"
# Attempts at a transaction that loses to another; the waits before them double from 0.1 s.
ATTEMPTS = 8
# Locks that partitions share out among them; a server has room for some 6,000.
STRIPES = 256
_DRIVER: Any = psycopg2.dialect.import_dbapi()  # type: ignore[no-untyped-call]
_OBJECTS = {"tables": "table", "views": "view", "functions": "macro"}


@dataclass(frozen=True, slots=True)
class Bucket:
    """How an S3-compatible store is reached; keys come from AWS_ACCESS_KEY_ID and its secret."""

    endpoint: str = ""
    region: str = "us-east-1"
    has_tls: bool = True


class Lake(Warehouse):
    """A warehouse that many processes on many machines write; `path` is where its Parquet lies.

    The extensions of DuckDB are loaded from their packages, and nothing is downloaded.
    """

    def __init__(
        self,
        url: str,
        parquet: str,
        lock_timeout_s: float = 600.0,
        memory_limit_gb: float = 4.0,
        threads: int = 1,
        bucket: Bucket | None = None,
    ):
        super().__init__(Path(parquet), lock_timeout_s, memory_limit_gb, threads)
        if not url.startswith(PREFIX):
            raise BadSetting(
                f"warehouse.url is of a kind that is not known; write {PREFIX}host=... dbname=..."
            )
        self.url = url
        self.dsn = url.removeprefix(PREFIX)
        self.parquet = parquet
        self.bucket = bucket or Bucket()
        self._starting = Lock()
        self._started: tuple[int, duckdb.DuckDBPyConnection] | None = None

    remedy = "see that warehouse.url is right, that its server runs, and the extra is installed"

    def is_there(self) -> bool:
        """Whether a catalog may be there: looking at one would make it where only files show."""
        return "://" in self.parquet or self.path.exists()

    def patient(self, seconds: float) -> "Lake":
        """The same one, waiting no longer for another process."""
        limits = (seconds, self.memory_limit_gb, self.threads)
        return Lake(self.url, self.parquet, *limits, self.bucket)

    @property
    def place(self) -> str:
        """The catalog's database and the folder, without a password."""
        try:
            found = _DRIVER.extensions.parse_dsn(self.dsn)
        except _DRIVER.Error:
            return f"the lake in {self.parquet}"
        database = f"{found.get('host', 'localhost')}/{found.get('dbname', '')}"
        return f"the lake in {self.parquet} with its catalog on {database}"

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """The lake, to itself, with its schema up to date, until the block ends; readers go on.

        Raises WarehouseBusy after `lock_timeout_s`.
        """
        with self._turn(), self._connection() as raw:
            migrate(raw)
            yield Connection(raw)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """The lake as it is now, until the block ends; nothing can be written in it."""
        if not self._is_current():
            with self.open():
                pass
        with self._connection() as raw:
            raw.execute("begin transaction read only")
            yield Connection(raw)
            raw.execute("rollback")

    def write(self, work: Callable[[Connection], None], turns: Iterable[str]) -> None:
        """Run `work` in a transaction, at once with others that name other `turns`.

        Where it loses to another it is run again from the start, at most `ATTEMPTS` times: it must
        do nothing but by its connection. Raises WarehouseBusy after that.
        """
        if not self._is_current():
            with self.open():
                pass
        names, started = set(turns), time.monotonic()
        for attempt in range(ATTEMPTS):
            try:
                with self._turn(names), self._connection() as raw:
                    connection = Connection(raw)
                    with connection.transaction():
                        work(connection)
                    return
            except duckdb.TransactionException:
                # Together they would collide again.
                time.sleep(random.uniform(0.5, 1) * 0.1 * 2**attempt)
        raise WarehouseBusy(self.place, time.monotonic() - started)

    def publish(self, target: Path) -> None:
        """Merge small files, then put a copy at `target`, whole or not at all, as one DuckDB file.

        Writers go on while it is copied; snapshots older than a day are given up.
        """
        self.compact()
        scratch = target.with_name(f".{target.name}.new")
        scratch.unlink(missing_ok=True)
        with self._connection() as raw:
            raw.execute("begin transaction")
            raw.execute(f"attach {literal(scratch)} as published")
            raw.execute(f"copy from database {NAME} to published")
            raw.execute("commit")
            raw.execute("detach published")
        os.replace(scratch, target)

    def compact(self) -> None:
        """Merge small files, and remove what only snapshots older than a day still need."""
        aged = "older_than => now() - interval 1 day"
        with self.open() as connection:
            for call in (
                f"ducklake_merge_adjacent_files('{NAME}')",
                f"ducklake_expire_snapshots('{NAME}', {aged})",
                f"ducklake_cleanup_old_files('{NAME}', {aged})",
                f"ducklake_delete_orphaned_files('{NAME}', {aged})",
            ):
                connection.raw.execute(f"call {call}").fetchall()

    def rewrite(self) -> None:
        """Write every file anew that holds a deleted row, and remove the old ones and all history.

        What a rebuild has set aside is history, and what a killed process left goes with it.
        """
        with self.open() as connection:
            for call in (
                f"ducklake_flush_inlined_data('{NAME}')",
                f"ducklake_rewrite_data_files('{NAME}', delete_threshold => 0)",
                # A clock may be ahead; the newest snapshot always stays.
                f"ducklake_expire_snapshots('{NAME}', older_than => now() + interval 1 day)",
                f"ducklake_cleanup_old_files('{NAME}', cleanup_all => true)",
                f"ducklake_delete_orphaned_files('{NAME}', cleanup_all => true)",
            ):
                connection.raw.execute(f"call {call}").fetchall()

    @contextmanager
    def rebuilt(self) -> Iterator["Lake"]:
        """The same one, emptied; history keeps for a day what it held.

        Others go on meanwhile, and whoever is killed leaves what is made by then: run it again.
        """
        self._empty()
        yield self

    def _empty(self) -> None:
        with self._turn(), self._connection() as raw:
            raw.execute("begin transaction")
            for what, kind in _OBJECTS.items():
                found = raw.execute(
                    f"select distinct {kind.replace('macro', 'function')}_name "  # noqa: S608
                    f"from duckdb_{what}() where database_name = '{NAME}' and not internal"
                ).fetchall()
                for (name,) in found:
                    raw.execute(f'drop {kind} "{name}"')
            raw.execute("commit")

    @contextmanager
    def copied(self, target: Path) -> Iterator[bool]:
        """Refused: a lake is no file. Its catalog and its Parquet have backups of their own."""
        raise Refused(
            f"{self.place} is no file to copy; back up without the warehouse, which is then rebuilt"
        )
        yield False

    def _is_current(self) -> bool:
        """Whether its schema is the newest that this version knows."""
        with self._connection() as raw:
            try:
                row = raw.execute("select max(version) from schema_version").fetchone()
            except duckdb.CatalogException:
                return False
        return bool(row and row[0] is not None and row[0] >= self.newest_schema)

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor on the lake; the extensions are loaded once a process, which takes 0.5 s."""
        with self._starting:
            if self._started is None or self._started[0] != os.getpid():
                self._started = os.getpid(), self._start()
        raw = self._started[1].cursor()
        try:
            raw.execute("set TimeZone = 'UTC'")
            raw.execute("set enable_progress_bar = false")
            raw.execute(f"use {NAME}")
            yield raw
        except (duckdb.IOException, duckdb.ConnectionException):
            # The server may have been started again: the next opening connects anew.
            self._started = None
            raise
        finally:
            raw.close()

    def _start(self) -> duckdb.DuckDBPyConnection:
        is_bucket = "://" in self.parquet
        if not is_bucket:
            self.path.mkdir(parents=True, exist_ok=True)
        never = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
        raw = duckdb.connect(":memory:", config=self._config() | never)
        for extension in ("postgres_scanner", "ducklake", *(["httpfs"] if is_bucket else [])):
            raw.execute(f"load {literal(_extension(extension))}")
        if is_bucket:
            raw.execute(self._secret())
        raw.execute(
            f"attach {literal('ducklake:postgres:' + self.dsn)} as {NAME} "
            f"(data_path {literal(self.parquet)}, metadata_schema '{CATALOG}')"
        )
        return raw

    def _secret(self) -> str:
        given = {
            "type": "s3",
            "key_id": os.environ.get("AWS_ACCESS_KEY_ID", ""),
            "secret": os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
            "region": self.bucket.region,
            "use_ssl": str(self.bucket.has_tls).lower(),
        }
        if self.bucket.endpoint:
            given |= {"endpoint": self.bucket.endpoint, "url_style": "path"}
        return f"create secret ({', '.join(f'{k} {literal(v)}' for k, v in given.items())})"

    @contextmanager
    def _turn(self, names: set[str] | None = None) -> Iterator[None]:
        """Alone; or with others, but for those who have one of the `names` as well."""
        keys = sorted({_key(f"{int.from_bytes(_hash(name)) % STRIPES}") for name in names or ()})
        mode = "" if names is None else "_shared"
        statements = [f"select pg_advisory_lock{mode}({_key('all')})"]
        statements += [f"select pg_advisory_lock({key})" for key in keys]
        started = time.monotonic()
        with self._server() as server:
            server.execute(sa.text(f"set lock_timeout = {int(self.lock_timeout_s * 1000)}"))
            try:
                for statement in statements:
                    server.execute(sa.text(statement))
            except sa.exc.OperationalError as error:
                if getattr(error.orig, "pgcode", None) != "55P03":
                    raise
                raise WarehouseBusy(self.place, time.monotonic() - started) from None
            # The locks are the session's, and end with it, however it ends.
            yield

    @contextmanager
    def _server(self) -> Iterator[sa.Connection]:
        engine = sa.create_engine(
            "postgresql+psycopg2://",
            creator=lambda: _DRIVER.connect(self.dsn),
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",
        )
        with engine.connect() as connection:
            yield connection


def _extension(name: str) -> Path:
    """The file of an extension of DuckDB, in its package.

    Raises BadSetting where there is none for this release of DuckDB.
    """
    found = find_spec(f"duckdb_extension_{name}")
    for folder in (found.submodule_search_locations or []) if found else []:
        release = Path(folder) / "extensions" / f"v{duckdb.__version__}"
        if (file := release / f"{name}.duckdb_extension").is_file():
            return file
    raise BadSetting(
        f"warehouse.url needs the extension {name} for DuckDB {duckdb.__version__}; "
        "run `pip install 'flywheel-loop[ducklake]'`"
    )


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _key(name: str) -> int:
    """The number of a lock; a server's other locks have others."""
    return int.from_bytes(_hash(f"{CATALOG}:{name}")[:8], signed=True)

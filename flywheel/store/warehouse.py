"""The warehouse: one DuckDB file that the pipeline writes and everything analyses.

Named statements in, rows and Arrow tables out; the one idea is that it is opened late, closed early
and never by two processes at once. An exclusive lock on a side file keeps them apart, because
DuckDB's own does not wait, and DuckDB 2.0.0 lost acknowledged rows where processes opened and
closed in turn.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from flywheel.errors import WarehouseBusy
from flywheel.store.queries import query, schema_files

Value = object
_POLL_S = 0.02


class Connection:
    """An open warehouse: runs statements that stand under sql/ by their names."""

    def __init__(self, raw: duckdb.DuckDBPyConnection):
        self.raw = raw

    def run(self, name: str, **parameters: Value) -> duckdb.DuckDBPyConnection:
        """Run `sql/<name>.sql` with its `$parameters`; what it returns can be fetched."""
        return self.raw.execute(query(name), parameters or None)

    def rows(self, name: str, **parameters: Value) -> list[tuple[object, ...]]:
        """All rows of a statement, as tuples."""
        return self.run(name, **parameters).fetchall()

    def table(self, name: str, **parameters: Value) -> pa.Table:
        """All rows of a statement, as an Arrow table."""
        return self.run(name, **parameters).to_arrow_table()

    def count(self, name: str, **parameters: Value) -> int:
        """The first value of the first row, as a number."""
        row = self.run(name, **parameters).fetchone()
        return int(row[0]) if row else 0

    @contextmanager
    def given(self, **tables: pa.Table) -> Iterator[None]:
        """Arrow tables that statements in the block may select from, by these names."""
        for name, table in tables.items():
            self.raw.register(name, table)
        try:
            yield
        finally:
            for name in tables:
                self.raw.unregister(name)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing of it."""
        self.raw.execute("begin transaction")
        try:
            yield
        except BaseException:
            self.raw.execute("rollback")
            raise
        self.raw.execute("commit")


class Warehouse:
    """The only caller of `duckdb.connect` on the warehouse file."""

    def __init__(
        self,
        path: Path,
        lock_timeout_s: float = 600.0,
        memory_limit_gb: float = 4.0,
        threads: int = 1,
    ):
        self.path = path
        self.lock_timeout_s = lock_timeout_s
        self.memory_limit_gb = memory_limit_gb
        self.threads = threads

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """The warehouse, to itself, with its schema up to date, until the block ends.

        Never hold it while a model works. Raises WarehouseBusy after `lock_timeout_s`.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            raw = duckdb.connect(
                str(self.path),
                config={
                    "memory_limit": f"{self.memory_limit_gb}GB",
                    "threads": str(self.threads),
                },
            )
            try:
                raw.execute("set TimeZone = 'UTC'")
                # DuckDB takes a spawned process for a person's shell, and stdout is for data.
                raw.execute("set enable_progress_bar = false")
                _migrate(raw)
                yield Connection(raw)
            finally:
                raw.close()

    def publish(self, target: Path) -> None:
        """Put a copy at `target` for other readers, whole or not at all."""
        scratch = target.with_name(f".{target.name}.new")
        scratch.unlink(missing_ok=True)
        with self.open() as connection:
            connection.raw.execute(f"attach {_literal(scratch)} as published")
            connection.raw.execute("copy from database warehouse to published")
            connection.raw.execute("detach published")
        os.replace(scratch, target)

    def set_aside(self) -> Path | None:
        """Rename the file so that the next opening starts anew; where it went, if there was one."""
        with self._alone():
            if not self.path.exists():
                return None
            with_write_ahead_log = self.path.with_name(self.path.name + ".wal")
            aside = self.path.with_name(f"{self.path.stem}.before-rebuild{self.path.suffix}")
            os.replace(self.path, aside)
            with_write_ahead_log.unlink(missing_ok=True)
            return aside

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock_path = self.path.with_name(self.path.name + ".lock")
        started = time.monotonic()
        with lock_path.open("a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    waited = time.monotonic() - started
                    if waited > self.lock_timeout_s:
                        raise WarehouseBusy(str(self.path), waited) from None
                    time.sleep(_POLL_S)
            yield


def _migrate(raw: duckdb.DuckDBPyConnection) -> None:
    raw.execute(query("schema/schema_version"))
    row = raw.execute("select coalesce(max(version), 0) from schema_version").fetchone()
    present = int(row[0]) if row else 0
    for file in schema_files():
        version = int(file.name.split("_")[0])
        if version <= present:
            continue
        raw.execute("begin transaction")
        raw.execute(file.read_text(encoding="utf-8"))
        raw.execute("insert into schema_version values (?, ?)", [version, file.stem])
        raw.execute("commit")


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"

"""The warehouse: one DuckDB file that the pipeline writes and everything analyses.

Named statements in, rows and Arrow tables out; the one idea is that it is opened late, closed early
and never by two processes at once. An exclusive lock on a side file keeps them apart, because
DuckDB's own does not wait, and DuckDB 2.0.0 lost acknowledged rows where processes opened and
closed in turn.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from flywheel.errors import WarehouseBusy
from flywheel.store.artifacts import sync_folder
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
            raw = duckdb.connect(str(self.path), config=self._config())
            try:
                raw.execute("set TimeZone = 'UTC'")
                # DuckDB takes a spawned process for a person's shell, and stdout is for data.
                raw.execute("set enable_progress_bar = false")
                migrate(raw)
                yield Connection(raw)
            finally:
                raw.close()

    def read(self) -> AbstractContextManager[Connection]:
        """The warehouse for a block that only reads; of a file, as `open`."""
        return self.open()

    def write(self, work: Callable[[Connection], None], turns: Iterable[str]) -> None:
        """Run `work` in a transaction; of a file, `turns` are all one.

        It may be run again where it loses to another: it does nothing but by its connection.
        """
        with self.open() as connection, connection.transaction():
            work(connection)

    def publish(self, target: Path) -> None:
        """Put a copy at `target` for other readers, whole or not at all."""
        scratch = target.with_name(f".{target.name}.new")
        scratch.unlink(missing_ok=True)
        with self.open() as connection:
            connection.raw.execute(f"attach {literal(scratch)} as published")
            (own,) = connection.raw.execute("select current_database()").fetchone() or ("",)
            connection.raw.execute(f'copy from database "{own}" to published')
            connection.raw.execute("detach published")
        os.replace(scratch, target)

    def rewrite(self) -> None:
        """Copy every row into a new file that takes this one's place: what was deleted is gone.

        Whoever is killed meanwhile leaves the old file. What a rebuild has set aside is removed,
        and what one that was killed has left.
        """
        scratch = self.path.with_name(f".{self.path.name}.new")
        with self._alone():
            scratch.unlink(missing_ok=True)
            with_write_ahead_log = self.path.with_name(self.path.name + ".wal")
            with duckdb.connect(str(self.path), config=self._config()) as raw:
                raw.execute("set enable_progress_bar = false")
                raw.execute(f"attach {literal(scratch)} as rewritten")
                (own,) = raw.execute("select current_database()").fetchone() or ("",)
                raw.execute(f'copy from database "{own}" to rewritten')
                raw.execute("detach rewritten")
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(scratch, self.path)
            with_write_ahead_log.unlink(missing_ok=True)
            self.set_aside_path.unlink(missing_ok=True)
            self._remove_rebuilding()
            sync_folder(self.path.parent)

    @contextmanager
    def copied(self, target: Path) -> Iterator[bool]:
        """A copy of the file at `target`; nobody else comes in until the block ends.

        False where there is no warehouse yet.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            is_there = self.path.exists()
            if is_there:
                # What a killed process has left in the log comes into the file.
                duckdb.connect(str(self.path), config=self._config()).close()
                shutil.copyfile(self.path, target)
            yield is_there

    remedy = "move it away and run `flywheel warehouse rebuild`"

    def is_there(self) -> bool:
        """Whether something has been stored; looking makes nothing."""
        return self.path.exists()

    def patient(self, seconds: float) -> "Warehouse":
        """The same one, waiting no longer for another process."""
        return Warehouse(self.path, seconds, self.memory_limit_gb, self.threads)

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return str(self.path)

    @property
    def newest_schema(self) -> int:
        """The schema that this version brings a warehouse to."""
        return int(schema_files()[-1].name.split("_")[0])

    @property
    def set_aside_path(self) -> Path:
        """Where a rebuild leaves the file of before."""
        return self.path.with_name(f"{self.path.stem}.before-rebuild{self.path.suffix}")

    @property
    def _rebuilding_path(self) -> Path:
        """Where a rebuild makes the file that comes."""
        return self.path.with_name(f"{self.path.stem}.rebuilding{self.path.suffix}")

    def _config(self) -> dict[str, str | bool | int | float | list[str]]:
        return {"memory_limit": f"{self.memory_limit_gb}GB", "threads": str(self.threads)}

    @contextmanager
    def rebuilt(self) -> Iterator["Warehouse"]:
        """An empty one that takes this one's place when the block ends well; others wait meanwhile.

        Whoever is killed leaves the old one or the new one in force, each whole. The old one is
        kept at `set_aside_path`.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        limits = (self.lock_timeout_s, self.memory_limit_gb, self.threads)
        with self._alone():
            self._remove_rebuilding()
            new = Warehouse(self._rebuilding_path, *limits)
            try:
                with new.open():
                    pass
                yield new
                with new.path.open("rb") as file:
                    os.fsync(file.fileno())
                self._keep_aside()
                os.replace(new.path, self.path)
                sync_folder(self.path.parent)
            finally:
                self._remove_rebuilding()

    def _keep_aside(self) -> None:
        """Give the file a second name, so that it stands until another takes its place."""
        with_write_ahead_log = self.path.with_name(self.path.name + ".wal")
        if not self.path.exists():
            with_write_ahead_log.unlink(missing_ok=True)
            return
        try:
            # What a killed process has left in the log comes into the file.
            duckdb.connect(str(self.path), config=self._config()).close()
        except duckdb.Error:
            # It is damaged, which is why it is made again.
            with_write_ahead_log.unlink(missing_ok=True)
        self.set_aside_path.unlink(missing_ok=True)
        try:
            os.link(self.path, self.set_aside_path)
        except OSError:
            # A file system that knows no links.
            shutil.copyfile(self.path, self.set_aside_path)

    def _remove_rebuilding(self) -> None:
        for ending in ("", ".wal", ".lock"):
            path = self._rebuilding_path
            path.with_name(path.name + ending).unlink(missing_ok=True)

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


def migrate(raw: duckdb.DuckDBPyConnection) -> None:
    """Bring the schema of an open warehouse up to date, a transaction a file."""
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


def literal(text: Path | str) -> str:
    """A string of SQL, for where no parameter can stand."""
    return "'" + str(text).replace("'", "''") + "'"

"""Moving the ledger from its SQLite file to a Postgres server: once, and whole or not at all.

A ledger and the URL of an empty database in, a report out; the one idea is that nobody is told
"stored" by the old file once its rows were read. Its write lock is held while they are copied, the
server sees them in one transaction, and a note beside the file is there before that is committed.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from flywheel.errors import BadInput, Refused, TryAgain
from flywheel.store.artifacts import sync_folder
from flywheel.store.ledger import Ledger, in_utc, ledger_url, migrate, moved_note, unreachable
from flywheel.store.tables import metadata

Progress = Callable[[int, int], None]

# What is in memory at once, of which a row of the inbox may hold megabytes.
_ROWS, _BYTES = 500, 8_000_000
_INT32 = 2**31
# The last number that SQLite gave out in each table that never gives one twice.
_GIVEN = "select name, seq from sqlite_sequence"
_NAMES = {"postgresql": "Postgres", "sqlite": "SQLite"}
_Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class MoveReport:
    """What was moved: the rows of each table; `replaced` texts held NUL, which Postgres has not."""

    to: str
    rows: int
    replaced: int
    tables: dict[str, int]


def no_progress(done: int, total: int) -> None:
    """Nobody watches."""


def move_ledger(source: Ledger, to: str, progress: Progress = no_progress) -> MoveReport:
    """Copy every row of a SQLite ledger into an empty Postgres database, and close the file.

    The file keeps what it holds and takes no more. A run that is killed leaves the database empty.
    Raises BadInput where a row cannot stand on Postgres or a URL is of another database, Refused
    where the database is not empty or the ledger was moved elsewhere, TryAgain where the server
    cannot be reached or others write to the file all the while.
    """
    note, place = _note_of(source), _server_of(to)
    # Without the password: what is shown is written down, and set by who reads it.
    shown = place._replace(password=None).render_as_string()
    _refuse_moved_elsewhere(note, shown)
    engine = sa.create_engine(place, poolclass=sa.NullPool)
    with _held(source) as here, _Note(note) as closing, _transaction(engine) as there:
        _refuse_filled(there, shown, note)
        migrate(there)
        moved, replaced = copy_rows(here, there, progress)
        report = MoveReport(shown, sum(moved.values()), replaced, moved)
        _go_on_counting(here, there)
        closing.write(shown)
    return report


class _Note:
    """The note that closes the file: there before the server commits, gone again if it does not.

    That of an earlier run, which was killed, stays: whether it had committed is not known here.
    """

    def __init__(self, path: Path):
        self._path = path
        self._is_own = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._is_own:
            self._path.unlink()

    def write(self, shown: str) -> None:
        """Close the file, whatever happens to the machine from now on."""
        self._is_own = not self._path.exists()
        with self._path.open("w", encoding="utf-8") as file:
            file.write(f"{shown}\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._path.parent)


def _note_of(source: Ledger) -> Path:
    place = ledger_url(source.url)
    note = moved_note(place)
    if note is None:
        raise BadInput("the ledger is no SQLite file; Postgres brings pg_dump to move its own")
    if not Path(str(place.database)).exists():
        raise BadInput(f"there is no ledger {place.database}, so there is nothing to move")
    return note


def _server_of(to: str) -> sa.URL:
    place = ledger_url(to)
    if place.get_backend_name() != "postgresql":
        raise BadInput("a ledger is moved to Postgres only; write postgresql://USER@HOST/DATABASE")
    return place


def _refuse_moved_elsewhere(note: Path, shown: str) -> None:
    """Where the note names the same database, a run was killed; `_refuse_filled` tells when."""
    moved_to = note.read_text(encoding="utf-8").strip() if note.exists() else shown
    if moved_to != shown:
        raise Refused(
            f"this ledger was moved to {moved_to} already; if what it has taken there may be "
            f"lost, remove {note} and run this again"
        )


@contextmanager
def _held(source: Ledger) -> Iterator[sa.Connection]:
    try:
        with source.hold() as connection:
            yield connection
    except sa.exc.OperationalError as error:
        if "locked" not in str(error.orig):
            raise
        raise TryAgain("others write to the ledger all the while; end them first") from error


@contextmanager
def _transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One on the server, where a moment without a zone is one in UTC."""
    try:
        connection = engine.connect()
    except sa.exc.OperationalError as error:
        raise TryAgain(unreachable(engine.url, error)) from error
    with connection, connection.begin():
        connection.exec_driver_sql("set local timezone to 'UTC'")
        yield connection


def _refuse_filled(there: sa.Connection, shown: str, note: Path) -> None:
    schema = there.scalar(sa.select(sa.func.current_schema()))
    if schema is None:
        raise BadInput(f"{shown} names a schema that does not exist; create it first")
    found = sa.inspect(there).get_table_names(schema)
    if found and note.exists():
        raise Refused(f"this ledger was moved to {shown} already; name it in ledger.url")
    if found:
        named = ", ".join(sorted(found)[:3])
        raise Refused(
            f"{shown} holds {len(found)} tables already, such as {named}; name an empty database"
        )


def copy_rows(
    here: sa.Connection, there: sa.Connection, progress: Progress = no_progress
) -> tuple[dict[str, int], int]:
    """Put every row of one ledger into another, in place of what is there, and compare the two.

    The rows of each table, and how many texts held NUL, which Postgres has not. Nothing is
    committed. Raises BadInput where a row cannot stand there, and Refused where one came out
    different.
    """
    tables = metadata.sorted_tables
    total = sum(here.scalar(sa.select(sa.func.count()).select_from(t)) or 0 for t in tables)
    moved: dict[str, int] = {}
    replaced = 0
    # What a new ledger begins with is in the old one too, as it has become.
    for table in reversed(tables):
        there.execute(table.delete())
    for table in tables:
        fitting = _Fitting(table)
        moved[table.name] = _copy(here, there, fitting)
        replaced += fitting.replaced
        progress(sum(moved.values()), total)
    return moved, replaced


def _copy(here: sa.Connection, there: sa.Connection, fitting: "_Fitting") -> int:
    """The rows of one table, read back and compared; their number."""
    table, sent, arrived = fitting.table, _Digest(), _Digest()
    try:
        for batch in _batches(map(fitting, _rows(here, table))):
            sent.add(row.values() for row in batch)
            there.execute(table.insert(), batch)
        arrived.add(_rows(there, table))
    except (sa.exc.DataError, sa.exc.IntegrityError, ValueError) as error:
        why = " ".join(str(getattr(error, "orig", error)).split())
        name = _NAMES[there.dialect.name]
        raise BadInput(f"a row of {table.name} cannot stand on {name}: {why}") from error
    if sent != arrived:
        raise Refused(
            f"{table.name} came out different: {sent.n} rows were sent and {arrived.n} arrived, "
            "or with other contents; nothing was stored"
        )
    return sent.n


def _rows(connection: sa.Connection, table: sa.Table) -> Iterable[Sequence[object]]:
    return connection.execute(sa.select(table), execution_options={"yield_per": _ROWS})


def _batches(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    batch: list[_Row] = []
    n_bytes = 0
    for row in rows:
        batch.append(row)
        n_bytes += sum(len(value) for value in row.values() if isinstance(value, (str, bytes)))
        if len(batch) == _ROWS or n_bytes > _BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


class _Fitting:
    """Makes rows of a table what Postgres can hold, or says which row it cannot."""

    def __init__(self, table: sa.Table):
        self.table = table
        self.replaced = 0

    def __call__(self, row: Sequence[object]) -> _Row:
        pairs = zip(self.table.columns, row, strict=True)
        return {column.name: self._fit(column, value, row) for column, value in pairs}

    def _fit(self, column: "sa.Column[object]", value: object, row: Sequence[object]) -> object:
        if isinstance(value, datetime):
            return in_utc(value)
        if isinstance(value, str):
            if "\0" in value:
                self.replaced += 1
                value = value.replace("\0", "\ufffd")
            longest = getattr(column.type, "length", None)
            if longest is not None and len(value) > longest:
                self._refuse(column, row, f"has {len(value)} characters, and {longest} fit")
        is_small = isinstance(column.type, sa.Integer) and not isinstance(
            column.type, sa.BigInteger
        )
        if is_small and isinstance(value, int) and not -_INT32 <= value < _INT32:
            self._refuse(column, row, f"is {value}, and 32 bits fit")
        return value

    def _refuse(self, column: "sa.Column[object]", row: Sequence[object], why: str) -> None:
        keys = zip(self.table.columns, row, strict=True)
        key = ", ".join(str(value)[:80] for c, value in keys if c.primary_key)
        raise BadInput(f"{self.table.name}.{column.name} of the row {key} {why}")


class _Digest:
    """Rows counted, and the sum of their hashes, which does not depend on their order."""

    def __init__(self) -> None:
        self.n = 0
        self.sum = 0

    def add(self, rows: Iterable[Iterable[object]]) -> None:
        """Take in rows whose values stand in the order of the table's columns."""
        for row in rows:
            text = repr([_plain(value) for value in row])
            hashed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
            self.n += 1
            self.sum = (self.sum + int.from_bytes(hashed, "big")) % 2**256

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Digest) and (self.n, self.sum) == (other.n, other.sum)


def _plain(value: object) -> object:
    """The value as it is whichever database gave it."""
    if isinstance(value, datetime):
        return in_utc(value).astimezone(UTC).isoformat()
    return bytes(value) if isinstance(value, memoryview) else value


def _go_on_counting(here: sa.Connection, there: sa.Connection) -> None:
    """Numbers go on after the last: of those that are never given twice, after the last ever."""
    given = {str(name): int(seq) for name, seq in here.exec_driver_sql(_GIVEN)}
    for table in metadata.sorted_tables:
        for key in table.primary_key.columns:
            sequence = there.scalar(sa.select(sa.func.pg_get_serial_sequence(table.name, key.name)))
            last = there.scalar(sa.select(sa.func.max(key))) if sequence else None
            last = max(int(last or 0), int(given.get(table.name, 0)))
            if sequence and last:
                there.execute(sa.select(sa.func.setval(sequence, last)))

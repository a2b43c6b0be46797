"""Imports: files of traces in; rows of `traces` and `messages` out, and a reason for every other.

The one idea is that the ledger is told of a file before the warehouse loads it, and that loading is
"whatever the ledger has and the warehouse has not", one transaction an import. So a process killed
between the two loses nothing, and an empty warehouse fills itself again. A file is read in chunks;
one is parsed while the one before it is stored.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from flywheel.errors import BadInput, NeverWill
from flywheel.store import Stores
from flywheel.store.artifacts import sha256_of
from flywheel.store.ledger import now
from flywheel.store.queries import query
from flywheel.store.tables import imports
from flywheel.store.warehouse import Connection
from flywheel.traces.formats import Format, first_rows, format_named, recognise_rows
from flywheel.traces.lines import LineChunk, explain, numbered_lines, plain_file

RAW = "raw"
# A row of the ledger's `imports`.
Entry: TypeAlias = "sa.Row[tuple[object, ...]]"
T = TypeVar("T")
DEFAULT_APP = "default"


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A line that could not be used, by its number in the file from 1, and why."""

    file: str
    line: int
    why: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file: every line that is not blank is read, and then one of the others."""

    file: str
    read: int
    new: int
    duplicate: int
    changed: int
    rejected: list[RejectedRow]


@dataclass(frozen=True, slots=True)
class TraceCounts:
    """What a day holds; `rejected` counts the bad lines of all files that touched it."""

    traces: int
    eligible: int
    messages: int
    rejected: int


def import_file(
    stores: Stores,
    path: Path,
    format: str = "auto",
    app: str | None = None,
    day: date | None = None,
    copy: bool = True,
) -> ImportReport:
    """Bring a file of traces in; what is in already is counted as duplicate.

    `app` and `day` (UTC) are for traces whose file names no application or no time. Without `copy`
    the file stays where it is, and has to stay as it is.

    Raises BadInput where nothing of the file can be read, and NotFound on an unknown format.
    """
    with plain_file(path) as plain:
        rows = first_rows(plain, path)
        chosen = recognise_rows(rows, path) if format == "auto" else format_named(format)
        artifact = stores.artifacts.put_compressed(RAW, plain) if copy else None
        sha256 = artifact.removesuffix(".zst") if artifact else sha256_of(plain)
    import_id, is_new = _enter(
        stores,
        {
            "sha256": sha256,
            "format": chosen.name,
            # Never null: nulls are unequal to each other, and the same file would enter twice.
            "app": app or "",
            "day": day,
            "file": str(path if copy else path.resolve()),
            "artifact": artifact,
        },
    )
    loaded, failed = _load_missing(stores)
    if import_id in failed:
        raise failed[import_id]
    if is_new and import_id in loaded:
        return loaded[import_id]
    # It was in before, or another process has just loaded it.
    with stores.warehouse.open() as connection:
        report = _report(connection, import_id, str(path))
    return report if is_new else _again(report)


def load_imports(stores: Stores) -> list[ImportReport]:
    """Load every import of the ledger that the warehouse lacks, in the order they came.

    Raises BadInput, when all others are loaded, where a file that was left in place has changed.
    """
    loaded, failed = _load_missing(stores)
    for error in failed.values():
        raise error
    return list(loaded.values())


def days_with_traces(stores: Stores) -> list[date]:
    """UTC days with at least one trace, oldest first."""
    with stores.warehouse.open() as connection:
        return [day for (day,) in connection.run("traces/days").fetchall()]


def count_traces(stores: Stores, day: date) -> TraceCounts:
    """What the day holds."""
    with stores.warehouse.open() as connection:
        (row,) = connection.run("traces/counts_of_day", day=day).fetchall()
    return TraceCounts(*row)


def _enter(stores: Stores, values: dict[str, object]) -> tuple[int, bool]:
    """The ledger's number of this import, and whether it is a new one."""
    same = sa.select(imports.c.import_id).where(
        *(imports.c[name] == values[name] for name in ("sha256", "format", "app"))
    )
    moment = now()
    new = (
        imports.insert()
        .values(values | {"day": values["day"] or moment.date(), "imported_at": moment})
        .returning(imports.c.import_id)
    )
    try:
        with stores.ledger.begin() as ledger:
            known = ledger.execute(same).scalar()
            if known is not None:
                return int(known), False
            return int(ledger.execute(new).scalar_one()), True
    except sa.exc.IntegrityError:
        # Another process entered the same file at the same moment.
        with stores.ledger.begin() as ledger:
            return int(ledger.execute(same).scalar_one()), False


def _load_missing(stores: Stores) -> tuple[dict[int, ImportReport], dict[int, NeverWill]]:
    """Reports of the imports that were loaded, and why others were not, by their numbers."""
    with stores.ledger.begin() as ledger:
        entries = ledger.execute(sa.select(imports).order_by(imports.c.import_id)).all()
    with stores.warehouse.open() as connection:
        present = {import_id for (import_id,) in connection.rows("traces/imports_loaded")}
    loaded: dict[int, ImportReport] = {}
    failed: dict[int, NeverWill] = {}
    for entry in entries:
        if entry.import_id in present:
            continue
        try:
            loaded[entry.import_id] = _load(stores, entry)
        except NeverWill as error:
            failed[entry.import_id] = error
    return loaded, failed


def _load(stores: Stores, entry: Entry) -> ImportReport:
    with _raw_file(stores, entry) as raw, stores.warehouse.open() as connection:
        # It may have waited for the process that loaded this import.
        if not connection.rows("traces/import_counts", import_id=entry.import_id):
            with raw.open("rb") as file, connection.transaction():
                _load_lines(connection, file, entry)
        return _report(connection, entry.import_id, entry.file)


@contextmanager
def _raw_file(stores: Stores, entry: Entry) -> Iterator[Path]:
    if entry.artifact is not None:
        with stores.artifacts.plain(RAW, entry.artifact) as raw:
            yield raw
        return
    with plain_file(Path(entry.file)) as raw:
        if sha256_of(raw) != entry.sha256:
            raise BadInput(f"{entry.file} has changed since it was imported; import it again")
        yield raw


def _load_lines(connection: Connection, file: BinaryIO, entry: Entry) -> None:
    read, rejected = 0, []
    with (
        closing(connection.raw.cursor()) as second,
        closing(_ahead(_parsed_chunks(Connection(second), file, entry))) as chunks,
    ):
        for chunk, parsed in chunks:
            read += len(chunk.numbers) + len(chunk.rejected)
            rejected += chunk.rejected + _load_chunk(connection, chunk, parsed, entry)
    if rejected:
        numbers, reasons = zip(*sorted(rejected), strict=True)
        lines = pa.table(
            {"line_no": pa.array(numbers, pa.int64()), "why": pa.array(reasons, pa.string())}
        )
        with connection.given(rejected_lines=lines):
            connection.run("traces/new_rejects", import_id=entry.import_id, file=entry.file)
    connection.run(
        "traces/loaded_import", import_id=entry.import_id, read=read, rejected=len(rejected)
    )
    connection.run("traces/current_versions", import_id=entry.import_id)


def _parsed_chunks(
    connection: Connection, file: BinaryIO, entry: Entry
) -> Iterator[tuple[LineChunk, pa.Table]]:
    chosen, app = format_named(entry.format), entry.app or DEFAULT_APP
    connection.raw.execute("set TimeZone = 'UTC'")
    for chunk in numbered_lines(file):
        yield chunk, _parse(connection, chunk, chosen, app)


def _ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items; the next one is made while the caller is busy with the last."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        coming = executor.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = executor.submit(next, items, None)
            yield item


def _load_chunk(
    connection: Connection, chunk: LineChunk, parsed: pa.Table, entry: Entry
) -> list[tuple[int, str]]:
    """Add the chunk's traces and messages; the lines that could not be used, and why."""
    with connection.given(parsed_rows=parsed):
        incoming = connection.table(
            "traces/incoming_rows",
            day=entry.day,
            # A day that is not that of the import was asked for.
            is_asked=entry.day != _utc_day(entry.imported_at),
        )
        with connection.given(incoming_rows=incoming):
            connection.run("traces/new_traces", import_id=entry.import_id)
            connection.run("traces/new_messages")
    lines, messages = (
        dict(zip(chunk.numbers, chunk.lines, strict=True)),
        format_named(entry.format).messages,
    )
    bad = parsed.select(["line_no", "why"]).filter(pc.is_valid(parsed["why"]))
    return [
        (number, explain(lines[number], messages) if why == "unread" else why)
        for number, why in zip(bad["line_no"].to_pylist(), bad["why"].to_pylist(), strict=True)
    ]


def _parse(connection: Connection, chunk: LineChunk, chosen: Format, app: str) -> pa.Table:
    lines = pa.table(
        {
            "line_no": pa.array(chunk.numbers, pa.int64()),
            "line": pa.array(chunk.lines, pa.large_string()),
        }
    )
    # One statement, so that a line is typed, mapped and checked without being stored in between.
    statement = f"""
        with file_rows as ({query("traces/file_rows")}),
        mapped_rows as ({query(chosen.query)})
        select * from ({query("traces/parsed_rows")})
    """  # noqa: S608
    with connection.given(new_lines=lines):
        return connection.raw.execute(
            statement, {"columns": chosen.columns, "known": chosen.known, "app": app}
        ).to_arrow_table()


def _utc_day(moment: datetime) -> date:
    """SQLite gives back UTC without its zone, Postgres a time in the zone of the session."""
    return moment.astimezone(UTC).date() if moment.tzinfo else moment.date()


def _report(connection: Connection, import_id: int, file: str) -> ImportReport:
    (counts,) = connection.run("traces/import_counts", import_id=import_id).fetchall()
    rejects = connection.run("traces/rejects_of_import", import_id=import_id).fetchall()
    read, new, duplicate, changed = counts
    return ImportReport(
        file,
        read,
        new,
        duplicate,
        changed,
        [RejectedRow(file, line, why) for line, why in rejects],
    )


def _again(report: ImportReport) -> ImportReport:
    """The same file once more: nothing is new, and the bad lines are still bad."""
    usable = report.read - len(report.rejected)
    return ImportReport(report.file, report.read, 0, usable, 0, report.rejected)

"""Loading: the lines of one import in, rows of the warehouse out, in the caller's transaction.

The one idea is a chunk: a file is parsed by one statement a chunk, and a chunk is parsed while the
one before it is stored, so that memory is bounded by the chunk, whatever the file.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from typing import BinaryIO, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from flywheel.store.queries import query
from flywheel.store.warehouse import Connection
from flywheel.traces.formats import FORMATS, Format
from flywheel.traces.lines import LineChunk, explain, numbered_lines

DEFAULT_APP = "default"
# A row of the ledger's `imports`.
Entry: TypeAlias = "sa.Row[tuple[object, ...]]"
T = TypeVar("T")


def load_lines(connection: Connection, file: BinaryIO, entry: Entry) -> None:
    """Add the import's traces, messages, rejected lines and counts."""
    read, rejected = 0, []
    with (
        closing(connection.raw.cursor()) as second,
        closing(_ahead(_parsed_chunks(Connection(second), file, entry))) as chunks,
    ):
        for chunk, parsed in chunks:
            read += len(chunk.numbers) + len(chunk.rejected)
            rejected += chunk.rejected
            with incoming_lent(connection, parsed, entry):
                rejected += load_parsed(connection, chunk, parsed, entry, FORMATS[entry.format])
    close_import(connection, entry, read, read - len(rejected), rejected)


def close_import(
    connection: Connection,
    entry: Entry,
    read: int,
    usable: int,
    rejected: list[tuple[int, str]],
) -> None:
    """Say that the import is loaded, what became of its lines and which versions are in force.

    Of the `usable` traces, those that added no row were duplicates.
    """
    if rejected:
        numbers, reasons = zip(*sorted(rejected), strict=True)
        lines = pa.table(
            {"line_no": pa.array(numbers, pa.int64()), "why": pa.array(reasons, pa.string())}
        )
        with connection.given(rejected_lines=lines):
            connection.run("traces/new_rejects", import_id=entry.import_id, file=entry.file)
    connection.run(
        "traces/loaded_import",
        import_id=entry.import_id,
        read=read,
        usable=usable,
        rejected=len(rejected),
    )
    connection.run("traces/current_versions", import_id=entry.import_id)


def _parsed_chunks(
    connection: Connection, file: BinaryIO, entry: Entry
) -> Iterator[tuple[LineChunk, pa.Table]]:
    chosen, app = FORMATS[entry.format], entry.app or DEFAULT_APP
    connection.raw.execute("set TimeZone = 'UTC'")
    for chunk in numbered_lines(file):
        yield chunk, parse_chunk(connection, chunk, chosen, app)


def _ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items; the next one is made while the caller is busy with the last."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        coming = executor.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = executor.submit(next, items, None)
            yield item


def load_parsed(
    connection: Connection, chunk: LineChunk, parsed: pa.Table, entry: Entry, chosen: Format
) -> list[tuple[int, str]]:
    """Add the chunk's traces and messages; the lines that could not be used, and why.

    The caller has lent `parsed` by `incoming_lent`.
    """
    connection.run("traces/new_traces", import_id=entry.import_id)
    connection.run("traces/new_messages")
    lines = dict(zip(chunk.numbers, chunk.lines, strict=True))
    bad = parsed.select(["line_no", "why"]).filter(pc.is_valid(parsed["why"]))
    return [
        (number, explain(lines[number], chosen.messages) if why == "unread" else why)
        for number, why in zip(bad["line_no"].to_pylist(), bad["why"].to_pylist(), strict=True)
    ]


@contextmanager
def incoming_lent(connection: Connection, parsed: pa.Table, entry: Entry) -> Iterator[pa.Table]:
    """Lend `parsed` as parsed_rows, and what is new, changed or a duplicate of it and of which day.

    That is given back too: incoming_rows.
    """
    with lent(connection, parsed_rows=parsed):
        rows = connection.table(
            "traces/incoming_rows",
            day=entry.day,
            # A day that is not that of the import was asked for.
            is_asked=entry.day != _utc_day(entry.imported_at),
        )
        with lent(connection, incoming_rows=rows):
            yield rows


class _Lent:
    """An Arrow table as DuckDB scans it, until it is taken back."""

    def __init__(self, table: pa.Table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


@contextmanager
def lent(connection: Connection, **tables: pa.Table) -> Iterator[None]:
    """`Connection.given`, where many tables are given to one transaction.

    DuckDB keeps what it was given until the transaction ends, so a file of 1 GB took 4 GB of
    memory; what it keeps now is an empty shell.
    """
    shells = {name: _Lent(table) for name, table in tables.items()}
    with connection.given(**shells):
        yield
    for shell in shells.values():
        shell.table = None


def parse_chunk(connection: Connection, chunk: LineChunk, chosen: Format, app: str) -> pa.Table:
    """The chunk's lines as rows of traces/parsed_rows."""
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

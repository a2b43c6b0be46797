"""Imports: files of traces in; rows of `traces` and `messages` out, and a reason for every other.

The one idea is that the ledger is told of a file before the warehouse loads it, and that loading is
"whatever the ledger has and the warehouse has not", one transaction an import. So a process killed
between the two loses nothing, and an empty warehouse fills itself again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import sqlalchemy as sa

from flywheel.errors import BadInput, NeverWill
from flywheel.store import Stores
from flywheel.store.artifacts import sha256_of
from flywheel.store.ledger import now
from flywheel.store.tables import imports
from flywheel.store.warehouse import Connection
from flywheel.traces.formats import first_rows, format_named, recognise_rows
from flywheel.traces.lines import plain_file
from flywheel.traces.loading import Entry, load_lines

RAW = "raw"


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
                load_lines(connection, file, entry)
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

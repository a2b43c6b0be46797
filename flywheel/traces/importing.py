"""Imports: files of traces in; rows of `traces` and `messages` out, and a reason for every other.

The one idea is that the ledger is told of a file before the warehouse loads it, and that loading is
"whatever the ledger has and the warehouse has not", one transaction an import. So a process killed
between the two loses nothing, and an empty warehouse fills itself again.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import sqlalchemy as sa

from flywheel.errors import BadInput, NeverWill
from flywheel.redaction import Redactor
from flywheel.store import Stores
from flywheel.store.artifacts import sha256_of
from flywheel.store.ledger import now
from flywheel.store.tables import imports
from flywheel.store.warehouse import Connection
from flywheel.traces.containers import plain_file
from flywheel.traces.documents import publish_documents
from flywheel.traces.forgotten import without_forgotten
from flywheel.traces.formats import FORMATS, first_rows, format_named, recognise_rows
from flywheel.traces.loading import Entry, load_lines
from flywheel.traces.masking import mask_lines
from flywheel.traces.spans.loading import load_spans
from flywheel.traces.touched_days import tell_days

RAW = "raw"
# What the file of an import is called that came by the inbox.
LIVE = "live traces"


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A line that could not be used, by its number in the file from 1, and why."""

    file: str
    line: int
    why: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file: every line that is not blank is read, and then one of the others.

    Where a line is a span, or holds many, what is new, a duplicate or changed counts traces.
    """

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
    redactor: Redactor | None = None,
) -> ImportReport:
    """Bring a file of traces in; what is in already is counted as duplicate.

    `app` and `day` (UTC) are for traces whose file names no application or no time. Without `copy`
    the file stays where it is, and has to stay as it is. What is stored has the masks of `redactor`
    and nothing of who was forgotten; the hash of the file itself says whether it was in before.

    Raises BadInput where nothing of the file can be read or a file that must be masked would stay
    as it is, and NotFound on an unknown format.
    """
    if not copy and redactor and not redactor.is_off:
        raise BadInput(
            f"{path} would stay as it is, and [privacy] says what must be masked; import it with "
            "a copy"
        )
    with plain_file(path) as plain:
        rows = first_rows(plain, path)
        chosen = recognise_rows(rows, path) if format == "auto" else format_named(format)
        with stores.nobody_forgotten():
            artifact = store_raw(stores, plain, app or "", redactor) if copy else None
            import_id, is_new = enter_import(
                stores,
                {
                    "sha256": sha256_of(plain),
                    "format": chosen.name,
                    # Never null: nulls are unequal to each other, and a file would enter twice.
                    "app": app or "",
                    "day": day,
                    "file": storable(path) if copy else str(path.resolve()),
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


def storable(named: Path | Exception) -> str:
    """A path as text: a file's name may hold bytes that are none, and no store takes those."""
    return str(named).encode("utf-8", "backslashreplace").decode()


def store_raw(stores: Stores, plain: Path, app: str, redactor: Redactor | None = None) -> str:
    """Archive a file of lines, masked and without who was forgotten; the artifact's name."""
    with tempfile.TemporaryDirectory(prefix="flywheel-") as scratch:
        if redactor and not redactor.is_off:
            masked = Path(scratch) / "masked"
            mask_lines(plain, masked, redactor)
            plain = masked
        if stores.tombstones:
            left = Path(scratch) / "left"
            without_forgotten(plain, left, stores.tombstones, app)
            plain = left
        return stores.artifacts.put_compressed(RAW, plain)


def load_imports(stores: Stores) -> list[ImportReport]:
    """Load every import of the ledger that the warehouse lacks, in the order they came.

    Raises BadInput, when all others are loaded, where a file that was left in place has changed.
    """
    loaded, failed = _load_missing(stores)
    for error in failed.values():
        raise error
    return list(loaded.values())


def require_archives(stores: Stores) -> None:
    """Raise NotFound, BadArtifact or BadInput where an import could not be loaded again."""
    with stores.ledger.read() as ledger:
        entries = ledger.execute(sa.select(imports).order_by(imports.c.import_id)).all()
    for entry in entries:
        with _raw_file(stores, entry):
            pass


def days_with_traces(stores: Stores) -> list[date]:
    """UTC days with at least one trace, oldest first."""
    with stores.warehouse.read() as connection:
        return [day for (day,) in connection.run("traces/days").fetchall()]


def count_traces(stores: Stores, day: date) -> TraceCounts:
    """What the day holds."""
    with stores.warehouse.read() as connection:
        (row,) = connection.run("traces/counts_of_day", day=day).fetchall()
    return TraceCounts(*row)


def enter_import(stores: Stores, values: dict[str, object]) -> tuple[int, bool]:
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
    with stores.ledger.begin() as ledger:
        known = ledger.execute(same).scalar()
        if known is not None:
            return int(known), False
        try:
            # Postgres gives up a whole transaction for one statement that fails outside of these.
            with ledger.begin_nested():
                return int(ledger.execute(new).scalar_one()), True
        except sa.exc.IntegrityError:
            # Another process entered the same file at the same moment.
            return int(ledger.execute(same).scalar_one()), False


def _load_missing(stores: Stores) -> tuple[dict[int, ImportReport], dict[int, NeverWill]]:
    """Reports of the imports that were loaded, and why others were not, by their numbers."""
    known = sa.select(imports.c.import_id, imports.c.days).order_by(imports.c.import_id)
    with stores.ledger.begin() as ledger:
        untold = {import_id: days is None for import_id, days in ledger.execute(known)}
    with stores.warehouse.open() as connection:
        present = {import_id for (import_id,) in connection.rows("traces/imports_loaded")}
        # Of a process that was killed after it had loaded them.
        tell_days(stores, connection, [one for one in untold if one in present and untold[one]])
    loaded: dict[int, ImportReport] = {}
    failed: dict[int, NeverWill] = {}
    for import_id in untold:
        if import_id in present:
            continue
        this = sa.select(imports).where(imports.c.import_id == import_id)
        # Whoever forgets puts another artifact in the place of this one.
        with stores.nobody_forgotten():
            with stores.ledger.read() as ledger:
                entry = ledger.execute(this).one()
            try:
                loaded[import_id] = _load(stores, entry)
            except NeverWill as error:
                failed[import_id] = error
    return loaded, failed


def _load(stores: Stores, entry: Entry) -> ImportReport:
    with _raw_file(stores, entry) as raw, stores.warehouse.open() as connection:
        # It may have waited for the process that loaded this import.
        if not connection.rows("traces/import_counts", import_id=entry.import_id):
            with raw.open("rb") as file, connection.transaction():
                if entry.format in FORMATS:
                    load_lines(connection, file, entry)
                else:
                    load_spans(stores, connection, file, entry)
        tell_days(stores, connection, [entry.import_id])
        report = _report(connection, entry.import_id, entry.file)
        versions = connection.rows("traces/versions_of_import", import_id=entry.import_id)
    if entry.format in FORMATS and entry.file.startswith(LIVE):
        # Who sends a trace looks for it; what a file holds is shown when somebody is to decide.
        publish_documents(stores, [(str(trace), str(version)) for trace, version in versions])
    return report


@contextmanager
def _raw_file(stores: Stores, entry: Entry) -> Iterator[Path]:
    """The lines of an import, without those of people who were forgotten since."""
    with ExitStack() as open_files:
        if entry.artifact is not None:
            raw = open_files.enter_context(stores.artifacts.plain(RAW, entry.artifact))
        else:
            raw = open_files.enter_context(plain_file(Path(entry.file)))
            if sha256_of(raw) != entry.sha256:
                raise BadInput(f"{entry.file} has changed since it was imported; import it again")
        if stores.tombstones:
            scratch = open_files.enter_context(tempfile.TemporaryDirectory(prefix="flywheel-"))
            left = Path(scratch) / "left"
            if without_forgotten(raw, left, stores.tombstones, entry.app or ""):
                raw = left
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
    usable = report.new + report.duplicate + report.changed
    return ImportReport(report.file, report.read, 0, usable, 0, report.rejected)

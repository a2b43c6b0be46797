"""Draining: rows of the inbox in; artifacts of JSON lines and rows of `imports` out.

The one idea is that a trace leaves the inbox when it is whole (its root has come, and no parent is
missing) or when nothing of it has come for `traces.idle_s`; the spans of others stay. A span that
comes later still is no harm: its trace is put together again, from all of its spans.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from flywheel.errors import TryAgain
from flywheel.redaction import Redactor
from flywheel.settings import Settings
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, in_utc, now
from flywheel.store.tables import inbox
from flywheel.traces.importing import (
    LIVE,
    ImportReport,
    enter_import,
    load_imports,
    store_raw,
)
from flywheel.traces.inbox import inbox_row, plain_body
from flywheel.traces.otlp_json import Document
from flywheel.traces.otlp_wire import as_line, decode_request, spans_of
from flywheel.traces.spans.loading import no_collection

# Of plain bodies: what is worked on at once takes some ten times as much memory.
CHUNK_BYTES = 32 << 20
CHUNK_ROWS = 5_000
# A line of an archive holds 128 MB at most, and is read whole.
LINE_BYTES = 16 << 20
FORMATS = {"otlp": "otlp", "otlp-json": "otlp", "flywheel": "flywheel"}


class _Overtaken(TryAgain):
    """Another process has drained the same rows in the meantime."""


@dataclass(slots=True)
class DrainReport:
    """What left the inbox, and how many spans stayed since their traces are not whole yet."""

    requests: int = 0
    spans: int = 0
    traces: int = 0
    held_spans: int = 0
    imports: int = 0

    def add(self, other: "DrainReport") -> None:
        """Count another chunk's too."""
        self.requests += other.requests
        self.spans += other.spans
        self.traces += other.traces
        self.held_spans += other.held_spans
        self.imports += other.imports


@dataclass(frozen=True, slots=True)
class _Request:
    """A row of the inbox, unpacked: `line` is its document, `ids` of each span trace, own, parent.

    Traces in our own format are `lines`, and have no ids here: each of them is whole.
    """

    batch_id: int
    kind: str
    app: str
    received_at: datetime
    lines: list[bytes]
    ids: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Known:
    """What is known of a trace from the spans that wait."""

    spans: set[str] = field(default_factory=set)
    parents: set[str] = field(default_factory=set)
    last_at: datetime = datetime.min

    def is_whole(self) -> bool:
        """Whether its root is there, and the parent of every other span."""
        return "" in self.parents and self.parents - {""} <= self.spans


def drain_and_load(stores: Stores, settings: Settings) -> tuple[DrainReport, list[ImportReport]]:
    """Empty the inbox into the archive, and load whatever the warehouse lacks."""
    drained = drain_inbox(stores, settings)
    return drained, load_imports(stores)


def drain_inbox(stores: Stores, settings: Settings) -> DrainReport:
    """Archive what has come in by now and is whole; `load_imports` brings it to the warehouse.

    Two processes may do so at once: each row is drained by one of them.
    """
    report, redactor = DrainReport(), Redactor.of(settings.privacy)
    # What is held back enters again behind this, and is not looked at twice.
    last, after = _last_row(stores.ledger), 0
    while batch_ids := _next_chunk(stores.ledger, after, last):
        after = batch_ids[-1]
        with stores.nobody_forgotten(), no_collection():
            requests = _unpacked(stores.ledger, batch_ids)
            try:
                report.add(_drain(stores, redactor, settings.traces.idle_s, requests))
            except _Overtaken:
                continue
    return report


def _last_row(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return connection.execute(sa.select(sa.func.max(inbox.c.batch_id))).scalar() or 0


def _next_chunk(ledger: Ledger, after: int, last: int) -> list[int]:
    """The next rows that are worked on at once; at least one, where there is one."""
    waiting = (
        sa.select(inbox.c.batch_id, inbox.c.n_bytes)
        .where(inbox.c.batch_id > after, inbox.c.batch_id <= last)
        .order_by(inbox.c.batch_id)
        .limit(CHUNK_ROWS)
    )
    with ledger.read() as connection:
        rows = connection.execute(waiting).all()
    chosen: list[int] = []
    total = 0
    for batch_id, n_bytes in rows:
        total += n_bytes
        if chosen and total > CHUNK_BYTES:
            break
        chosen.append(batch_id)
    return chosen


def _unpacked(ledger: Ledger, batch_ids: list[int]) -> list[_Request]:
    within = inbox.c.batch_id.between(batch_ids[0], batch_ids[-1])
    with ledger.read() as connection:
        rows = connection.execute(sa.select(inbox).where(within).order_by(inbox.c.batch_id)).all()
    return [_unpack(row) for row in rows]


def _unpack(row: "sa.Row[tuple[object, ...]]") -> _Request:
    head = (row.batch_id, row.kind, row.app, in_utc(row.received_at))
    body = plain_body(row.body)
    if row.kind == "flywheel":
        return _Request(*head, [_named(line, row.app) for line in body.splitlines()])
    document = decode_request(body, "protobuf" if row.kind == "otlp" else "json")
    if row.app:
        document = {"app": row.app} | document
    ids = [
        (span["traceId"], span["spanId"], span.get("parentSpanId", ""))
        for span in spans_of(document)
    ]
    return _Request(*head, [as_line(document)], ids)


def _named(line: bytes, app: str) -> bytes:
    """A trace in our own format, with the application of its sender where it names none."""
    if not app:
        return line
    row = json.loads(line)
    return line if row.get("app") else as_line(row | {"app": app})


def _drain(
    stores: Stores, redactor: Redactor, idle_s: float, requests: list[_Request]
) -> DrainReport:
    ready = _ready_traces(requests, now() - timedelta(seconds=idle_s))
    report = DrainReport(traces=len(ready))
    lines: dict[str, list[bytes]] = {"otlp": [], "flywheel": []}
    gone: list[int] = []
    held: list[dict[str, object]] = []
    for request in requests:
        n_ready = sum(trace_id in ready for trace_id, _, _ in request.ids)
        report.held_spans += len(request.ids) - n_ready
        if request.ids and not n_ready:
            continue
        gone.append(request.batch_id)
        leaving = request.lines
        if n_ready < len(request.ids):
            document = json.loads(request.lines[0])
            leaving = [as_line(_part(document, ready, True))]
            rest = as_line(_part(document, ready, False))
            n_held = len(request.ids) - n_ready
            held.append(inbox_row("otlp-json", request.app, rest, n_held, request.received_at))
        if redactor.needs_whole:
            leaving = [as_line(redactor.whole(json.loads(line))) for line in leaving]
        lines[FORMATS[request.kind]] += [part for line in leaving for part in _short(line)]
        report.spans += n_ready
        report.traces += 0 if request.ids else len(request.lines)
    report.requests = len(gone)
    if gone:
        report.imports = _hand_over(stores, lines, gone, held)
    return report


def _ready_traces(requests: Iterable[_Request], idle_since: datetime) -> set[str]:
    """The traces that are whole, or of which nothing has come since then."""
    known: dict[str, _Known] = {}
    for request in requests:
        for trace_id, span_id, parent_id in request.ids:
            trace = known.get(trace_id)
            if trace is None:
                trace = known[trace_id] = _Known(last_at=request.received_at)
            trace.spans.add(span_id)
            trace.parents.add(parent_id)
            trace.last_at = max(trace.last_at, request.received_at)
    return {
        trace_id
        for trace_id, trace in known.items()
        if trace.last_at <= idle_since or trace.is_whole()
    }


def _part(document: Document, ready: set[str], is_ready: bool) -> Document:
    """The document with those spans alone whose trace is ready, or is not."""
    resources = []
    for resource in document["resourceSpans"]:
        scopes = []
        for scope in resource["scopeSpans"]:
            spans = [span for span in scope["spans"] if (span["traceId"] in ready) == is_ready]
            if spans:
                scopes.append(scope | {"spans": spans})
        if scopes:
            resources.append(resource | {"scopeSpans": scopes})
    return document | {"resourceSpans": resources}


def _short(line: bytes) -> Iterator[bytes]:
    """The line, or where it is too long to be read at once, several with some of its spans each."""
    if len(line) <= LINE_BYTES:
        yield line
        return
    document = json.loads(line)
    if "resourceSpans" not in document:
        yield line
        return
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                one = resource | {"scopeSpans": [scope | {"spans": [span]}]}
                yield as_line(document | {"resourceSpans": [one]})


def _hand_over(
    stores: Stores,
    lines: dict[str, list[bytes]],
    gone: list[int],
    held: list[dict[str, object]],
) -> int:
    """Archive the lines, and let the ledger's rows go in the transaction that names the archive."""
    archived = {name: _archive(stores, part) for name, part in lines.items() if part}
    with stores.ledger.begin() as connection:
        deleted = connection.execute(inbox.delete().where(inbox.c.batch_id.in_(gone)))
        if deleted.rowcount != len(gone):
            raise _Overtaken("another process has drained the same rows")
        if held:
            connection.execute(inbox.insert(), held)
        for name, artifact in archived.items():
            enter_import(
                stores,
                {
                    "sha256": artifact.removesuffix(".zst"),
                    "format": name,
                    "app": "",
                    "day": None,
                    "file": f"{LIVE}, requests {gone[0]} to {gone[-1]}",
                    "artifact": artifact,
                },
            )
    return len(archived)


def _archive(stores: Stores, lines: Iterable[bytes]) -> str:
    with tempfile.TemporaryDirectory(prefix="flywheel-") as scratch:
        path = Path(scratch) / "lines"
        with path.open("wb") as file:
            for line in lines:
                file.write(line + b"\n")
        return store_raw(stores, path, "")

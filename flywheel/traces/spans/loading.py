"""Loading spans: the rows of one import in, spans, traces, documents and feedback out.

The one idea is two steps in the caller's transaction. First all spans of the file are stored, the
newest version of each; then every trace of which something is new is assembled from all its spans,
of whichever import, and goes the way of the lines of a flat file. So it does not matter in which
order, in how many files or how often spans come: the traces are the same.

Documents and feedback are in the ledger before the warehouse commits: a process that is killed
between the two loads the import again, and both are the same again.
"""

import gc
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from typing import BinaryIO

import pyarrow as pa

from flywheel.errors import BadInput
from flywheel.store import Stores
from flywheel.store.warehouse import Connection
from flywheel.traces.documents import KIND, write_document
from flywheel.traces.feedback import FeedbackRow, keep_feedback
from flywheel.traces.formats import FORMATS, with_columns
from flywheel.traces.lines import LineChunk, numbered_lines
from flywheel.traces.loading import (
    DEFAULT_APP,
    Entry,
    close_import,
    incoming_lent,
    lent,
    load_parsed,
    parse_chunk,
)
from flywheel.traces.published import announce, unpublished
from flywheel.traces.spans.assembly import assembled
from flywheel.traces.spans.formats import SpanFormat, span_formats
from flywheel.traces.spans.json_values import decoded
from flywheel.traces.spans.rows import StoredSpan, check_span, span_rows
from flywheel.traces.spans.span import Span

# Text of spans that is in memory at once, unless one trace is longer, and traces of one statement.
BATCH_BYTES = 16_000_000
BATCH_TRACES = 2_000
# Spans that are stored by one statement.
_STORED_TOGETHER = 10_000

# What assembly makes: our own format, and the number of spans, which no file can say.
ASSEMBLED = with_columns(FORMATS["flywheel"], n_spans="INTEGER")

Rejected = list[tuple[int, str]]


def load_spans(stores: Stores, connection: Connection, file: BinaryIO, entry: Entry) -> None:
    """Add the import's spans and feedback, and the traces, documents and counts they amount to.

    What is read counts lines; what is new, changed or a duplicate counts traces. A line is rejected
    with its reason, and so is a trace without a message, by the first line that speaks of it.
    """
    connection.raw.execute("set TimeZone = 'UTC'")
    with no_collection():
        read, rejected = _store_spans(stores, connection, file, entry)
        usable = connection.count("traces/spans_counted", import_id=entry.import_id)
        connection.run("traces/spans_repeated", import_id=entry.import_id)
        silent: Rejected = []
        first_number = 1
        for batch in _batches(connection, entry):
            silent += _load_batch(stores, connection, entry, batch, first_number)
            first_number += len(batch)
    close_import(connection, entry, read, usable - len(silent), rejected + silent)


@contextmanager
def no_collection() -> Iterator[None]:
    """No search for garbage in circles: JSON has none, and the search takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _store_spans(
    stores: Stores, connection: Connection, file: BinaryIO, entry: Entry
) -> tuple[int, Rejected]:
    """Insert every span of the file; how many lines were read, and why some were not used."""
    chosen = span_formats()[entry.format]
    read, rejected = 0, []
    spans: list[tuple[int, Span]] = []
    feedback: list[FeedbackRow] = []
    for chunk in numbered_lines(file, max_depth=None):
        read += len(chunk.numbers) + len(chunk.rejected)
        rejected += chunk.rejected
        for number, line in zip(chunk.numbers, chunk.lines, strict=True):
            try:
                found = _read_line(line, chosen)
            except BadInput as error:
                rejected.append((number, str(error)))
                continue
            spans += [(number, item) for item in found if isinstance(item, Span)]
            feedback += [item for item in found if isinstance(item, FeedbackRow)]
            if max(len(spans), len(feedback)) >= _STORED_TOGETHER:
                _keep(stores, connection, entry, spans, feedback)
                spans, feedback = [], []
    _keep(stores, connection, entry, spans, feedback)
    return read, rejected


def _read_line(line: bytes, chosen: SpanFormat) -> list[Span | FeedbackRow]:
    """All that a line says; raises BadInput where it cannot be used."""
    try:
        row = decoded(line)
        if not isinstance(row, dict):
            raise BadInput("not a JSON object")
        found = list(chosen.read(row))
    except json.JSONDecodeError as error:
        raise BadInput(f"not JSON: {error.msg} at character {error.pos + 1}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not JSON that can be stored: {error}") from error
    for item in found:
        if isinstance(item, Span):
            check_span(item)
    return found


def _keep(
    stores: Stores,
    connection: Connection,
    entry: Entry,
    spans: Sequence[tuple[int, Span]],
    feedback: Sequence[FeedbackRow],
) -> None:
    app = entry.app or DEFAULT_APP
    if spans:
        with lent(connection, new_spans=span_rows(spans, app, entry.day)):
            connection.run("traces/spans_new", import_id=entry.import_id)
    keep_feedback(stores.ledger, app, feedback)


def _batches(connection: Connection, entry: Entry) -> Iterator[list[tuple[str, int]]]:
    """Traces to be assembled together, each with the first line that speaks of it."""
    batch: list[tuple[str, int]] = []
    n_bytes = 0
    touched = connection.rows("traces/spans_touched", import_id=entry.import_id)
    for trace_id, _, more, line_no in touched:
        is_full = len(batch) == BATCH_TRACES or n_bytes + int(str(more)) > BATCH_BYTES
        if batch and is_full:
            yield batch
            batch, n_bytes = [], 0
        batch.append((str(trace_id), int(str(line_no))))
        n_bytes += int(str(more))
    if batch:
        yield batch


def _load_batch(
    stores: Stores,
    connection: Connection,
    entry: Entry,
    batch: Sequence[tuple[str, int]],
    first_number: int,
) -> Rejected:
    """Assemble the traces, add them and publish them; those without a message, and why."""
    lines_of = dict(batch)
    wanted = pa.table({"trace_id": pa.array(list(lines_of), pa.string())})
    with connection.given(wanted=wanted):
        rows = connection.rows("traces/spans_of_traces")
    of_trace = {
        trace_id: _once(spans)
        for trace_id, spans in groupby(
            (StoredSpan(*row) for row in rows),  # type: ignore[arg-type]
            attrgetter("trace_id"),
        )
    }
    # Traces of one import are told apart by their numbers: a line of the file may hold many.
    chunk, rejected, traces = LineChunk(), [], {}
    for number, (trace_id, spans) in enumerate(of_trace.items(), first_number):
        text = assembled(spans)
        if text is None:
            rejected.append((lines_of[trace_id], _no_message(trace_id, len(spans))))
        else:
            chunk.numbers.append(number)
            chunk.lines.append(text.encode())
            traces[number] = trace_id
    if traces:
        for number, why in _load_assembled(stores, connection, entry, chunk, of_trace):
            rejected.append((lines_of[traces[number]], f"trace {traces[number][:64]}: {why}"))
    return rejected


def _load_assembled(
    stores: Stores,
    connection: Connection,
    entry: Entry,
    chunk: LineChunk,
    of_trace: dict[str, list[StoredSpan]],
) -> Rejected:
    parsed = parse_chunk(connection, chunk, ASSEMBLED, entry.app or DEFAULT_APP)
    with incoming_lent(connection, parsed, entry) as rows:
        rejected = load_parsed(connection, chunk, parsed, entry, ASSEMBLED)
        connection.run("traces/outdated_versions")
        connection.run("traces/refreshed_traces")
    _publish(stores, parsed, rows, of_trace)
    return rejected


def _once(spans: Iterable[StoredSpan]) -> list[StoredSpan]:
    """Spans by their ids: two applications may send the same one."""
    return list({span.span_id: span for span in spans}.values())


def _no_message(trace_id: str, n_spans: int) -> str:
    return (
        f"trace {trace_id[:64]} has {n_spans} spans and none of them a message: no call of a model "
        "with its texts, no tool, no input or output of its root"
    )


def _publish(
    stores: Stores, parsed: pa.Table, incoming: pa.Table, of_trace: dict[str, list[StoredSpan]]
) -> None:
    """Publish each trace with its spans: one pack for what is new, one for what is told anew."""
    kinds = dict(zip(incoming["line_no"].to_pylist(), incoming["kind"].to_pylist(), strict=True))
    days = dict(zip(incoming["line_no"].to_pylist(), incoming["day"].to_pylist(), strict=True))
    rows = [row for row in parsed.to_pylist() if row["line_no"] in kinds]
    fresh = [(r["trace_id"], r["content_hash"]) for r in rows if kinds[r["line_no"]] != "duplicate"]
    missing = set(unpublished(stores.ledger, fresh))
    for replaces in (False, True):
        chosen = [
            row | {"day": days[row["line_no"]]}
            for row in rows
            if (kinds[row["line_no"]] == "duplicate") is replaces
            and (replaces or (row["trace_id"], row["content_hash"]) in missing)
        ]
        if not chosen:
            continue
        with (
            stores.artifacts.new_file(KIND, ".pack") as file,
            file.path.open("wb") as pack,
        ):
            written = [
                write_document(pack, row, row["messages"], of_trace[row["trace_id"]])
                for row in chosen
            ]
        announce(stores.ledger, written, file.name, replaces)

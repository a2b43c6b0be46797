"""Trace documents: what the web pages show of a trace, without the warehouse.

Versions of traces in, packs of them out, and rows of the ledger that say where each lies. The one
idea is a page: a document's messages lie in pages that are compressed each by itself, so that to
show some messages of 30,000 only theirs are read.

A pack is one artifact: zstd frames, one after the other. Each document is its pages of messages
and, where it came as spans, of these, then a header frame with what is known of the trace and where
its pages lie; the ledger points to the header. A small document, as most are, is a header alone,
which holds the rows.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa
import sqlalchemy as sa

from flywheel.errors import BadArtifact, NotFound
from flywheel.records import split_of
from flywheel.safety import visible
from flywheel.store import Stores
from flywheel.store.tables import trace_documents
from flywheel.traces.frames import PAGE_ROWS, Row, Rows, read_frame, write_frame, write_rows
from flywheel.traces.published import Version, announce, unpublished
from flywheel.traces.span_pages import (
    OUTLINE_ROWS,
    DocumentSpan,
    length_of,
    outline_of,
    read_outline,
    read_spans,
    value_of,
)
from flywheel.traces.spans.rows import StoredSpan
from flywheel.traces.tool_calls import ToolCall, tool_calls_of

__all__ = [
    "Document",
    "DocumentHeader",
    "DocumentSpan",
    "Message",
    "ToolCall",
    "Version",
    "open_document",
    "publish_documents",
    "tool_calls_of",
]

KIND = "documents"
# Text that is in memory at once, unless one trace is longer.
BATCH_BYTES = 32_000_000
OPENING_CHARACTERS = 160
# A document of no more than this is read at once, as a page of a longer one is.
SMALL_CHARACTERS = 64_000

_PLACE = sa.select(*trace_documents.c["artifact", "byte_offset", "byte_length"]).where(
    trace_documents.c.trace_id == sa.bindparam("trace"),
    trace_documents.c.content_hash == sa.bindparam("hash"),
)

_Row: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class DocumentHeader:
    """What is known of one version of a trace besides its messages; `metadata` is JSON."""

    trace_id: str
    content_hash: str
    app: str
    day: date
    session_id: str
    user_id: str | None
    split: str
    started_at: datetime | None
    model_name: str | None
    release: str | None
    cost_usd: float | None
    latency_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    status: str | None
    n_messages: int
    metadata: str


_NAMES = tuple(field.name for field in fields(DocumentHeader))


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was; `position` counts all messages of the trace from 0."""

    position: int
    role: str
    content: str
    tool_calls: tuple[ToolCall, ...]
    tool_call_id: str | None
    name: str | None
    tool_calls_json: str | None


class Document:
    """One version of a trace: its header, and its messages and spans as far as they are asked for.

    `n_spans` is 0 for a trace that did not come as spans, or whose document is an old one.
    """

    def __init__(self, header: DocumentHeader, messages: Rows, outline: Rows, values: Rows):
        self.header = header
        self.n_spans = len(outline)
        self._messages = messages
        self._outline = outline
        self._values = values

    def message(self, position: int) -> Message:
        """The message at a position; raises NotFound where the trace has none there."""
        found = self.messages(position, 1) if position >= 0 else []
        if not found:
            raise NotFound(f"message of trace {self.header.trace_id!r} at", str(position))
        return found[0]

    def messages(self, first: int, count: int) -> list[Message]:
        """At most `count` messages from the position `first` on; reads only the pages they are on.

        Raises BadArtifact where one of these pages is damaged.
        """
        rows = self._messages.between(first, first + count)
        return [_message(place, *row) for place, row in rows]  # type: ignore[arg-type]

    def outline(self) -> list[DocumentSpan]:
        """All spans in the order in which they began, without what went in and out of them.

        Cheap for a tree of any size; raises BadArtifact where a page is damaged.
        """
        return read_outline(self._outline)

    def spans(self, first: int = 0, count: float = math.inf) -> list[DocumentSpan]:
        """At most `count` spans from the position `first` on, with what went in and out of them.

        Reads only the pages they are on; raises BadArtifact where one of these is damaged.
        """
        return read_spans(self._outline, self._values, first, first + count)


def publish_documents(stores: Stores, versions: Iterable[Version]) -> int:
    """Publish those versions (trace id, content hash) that the ledger does not know; how many.

    Versions that the warehouse does not have are left out. All of a call go into one pack, which
    stands before the ledger speaks of it.
    """
    missing = unpublished(stores.ledger, versions)
    if not missing:
        return 0
    with stores.warehouse.read() as connection, connection.given(wanted=_table(missing)):
        known = connection.rows("traces/documents_wanted")
    if not known:
        return 0
    rows: list[dict[str, object]] = []
    with (
        stores.artifacts.new_file(KIND, ".pack") as file,
        file.path.open("wb") as pack,
    ):
        for batch in _batches(known):
            for of_trace, messages in _read_batch(stores, batch):
                rows.append(write_document(pack, of_trace, messages))
    return announce(stores.ledger, rows, file.name)


def open_document(stores: Stores, trace_id: str, content_hash: str) -> Document:
    """The document of one version of a trace; its messages are not read yet.

    Raises NotFound where it is not published, BadArtifact where its header is damaged.
    """
    with stores.ledger.read() as ledger:
        row = ledger.execute(_PLACE, {"trace": trace_id, "hash": content_hash}).one_or_none()
    if row is None:
        raise NotFound("published trace", trace_id)
    path = stores.artifacts.path(KIND, row.artifact)
    with path.open("rb") as pack:
        header, *parts = json.loads(read_frame(pack, row.byte_offset, row.byte_length))
    if (header["trace_id"], header["content_hash"]) != (trace_id, content_hash):
        raise BadArtifact(f"{path} holds another trace where {trace_id!r} should be")
    return Document(_header(header), *_rows_in(path, parts))


def _rows_in(path: Path, parts: Sequence[Any]) -> list[Rows]:
    """Messages, outline and values of the spans, by what stands behind a header."""
    if isinstance(parts[0], dict):
        return [Rows(path, held=parts[0][name]) for name in ("messages", "outline", "values")]
    # Packs of an earlier release have no spans.
    pages, (outline, values) = parts[0], parts[1] if len(parts) > 1 else ((), ())
    return [Rows(path, one) for one in (pages, outline, values)]


def _batches(known: Iterable[tuple[object, ...]]) -> Iterator[list[Version]]:
    """Versions to be read together: at most BATCH_BYTES of text, or a single one."""
    batch: list[Version] = []
    n_bytes = 0
    for trace_id, content_hash, more in known:
        if batch and n_bytes + int(str(more)) > BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
        batch.append((str(trace_id), str(content_hash)))
        n_bytes += int(str(more))
    yield batch


def _read_batch(stores: Stores, batch: Sequence[Version]) -> Iterator[tuple[_Row, list[_Row]]]:
    """Each version with its messages; the warehouse is closed before the first is handed out."""
    with stores.warehouse.read() as connection, connection.given(wanted=_table(batch)):
        headers = connection.table("traces/documents_headers").to_pylist()
        messages = connection.table("traces/documents_messages")
    of_version = {
        version: list(rows) for version, rows in groupby(messages.to_pylist(), _version_of)
    }
    for header in headers:
        yield header, of_version.get(_version_of(header), [])


def _version_of(row: _Row) -> Version:
    return str(row["trace_id"]), str(row["content_hash"])


def _table(versions: Sequence[Version]) -> pa.Table:
    columns = list(zip(*versions, strict=True))
    return pa.table(
        {
            "trace_id": pa.array(columns[0], pa.string()),
            "content_hash": pa.array(columns[1], pa.string()),
        }
    )


def write_document(
    pack: BinaryIO, row: _Row, messages: Sequence[_Row], spans: Sequence[StoredSpan] = ()
) -> dict[str, object]:
    """Append the pages and the header; what the ledger keeps of it, without the pack's name."""
    made = {
        **row,
        "split": split_of(str(row["session_id"]), _text(row["user_id"])),
        "n_messages": len(messages),
        "metadata": row["metadata"] or "{}",
    }
    known = {name: made[name] for name in _NAMES}
    offset, length = write_frame(pack, [known, *_write_parts(pack, messages, spans)])
    kept = ("trace_id", "content_hash", "app", "day", "session_id", "split", "n_messages")
    return {name: known[name] for name in kept} | {
        "opening": _opening(messages),
        "byte_offset": offset,
        "byte_length": length,
    }


def _write_parts(
    pack: BinaryIO, messages: Sequence[_Row], spans: Sequence[StoredSpan]
) -> list[object]:
    """What stands behind a header: the rows, or, where these are many or long, their pages."""
    said: list[Row] = [
        [m["role"], m["content"], m["tool_calls"], m["tool_call_id"], m["name"]] for m in messages
    ]
    outline, values = [outline_of(span) for span in spans], [value_of(span) for span in spans]
    n_characters = sum(map(_length, said)) + sum(map(length_of, values))
    if n_characters <= SMALL_CHARACTERS and max(len(said), len(spans)) <= PAGE_ROWS:
        return [{"messages": said, "outline": outline, "values": values}]
    pages = write_rows(pack, said, _length)
    if not spans:
        return [pages]
    outline_pages = write_rows(pack, outline, lambda _: 0, OUTLINE_ROWS)
    return [pages, [outline_pages, write_rows(pack, values, length_of)]]


def _length(message: Row) -> int:
    return len(str(message[1])) + len(str(message[2] or ""))


def _header(values: Mapping[str, Any]) -> DocumentHeader:
    """A header from the frame where it was written."""
    own = {name: values[name] for name in _NAMES}
    own["day"] = date.fromisoformat(own["day"])
    if own["started_at"] is not None:
        # The warehouse keeps UTC without saying so.
        own["started_at"] = datetime.fromisoformat(own["started_at"]).replace(tzinfo=UTC)
    return DocumentHeader(**own)


def _message(
    position: int,
    role: str,
    content: str,
    tool_calls: str | None,
    tool_call_id: str | None,
    name: str | None,
) -> Message:
    return Message(
        position, role, content, tool_calls_of(tool_calls), tool_call_id, name, tool_calls
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _opening(messages: Sequence[_Row]) -> str:
    """One line of what the user said first; `…` marks a cut."""
    said = next((str(m["content"]) for m in messages if m["role"] == "user" and m["content"]), "")
    # What is shown is at the start; a long text is not cleaned to its end.
    start = said[: 8 * OPENING_CHARACTERS]
    line = " ".join(visible(start).split())
    if len(line) <= OPENING_CHARACTERS and len(start) == len(said):
        return line
    return line[: OPENING_CHARACTERS - 1].rstrip() + "…"

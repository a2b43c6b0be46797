"""Trace documents: what the web pages show of a trace, without the warehouse.

Versions of traces in, packs of them out, and rows of the ledger that say where each lies. The one
idea is a page: a document's messages lie in pages that are compressed each by itself, so that to
show some messages of 30,000 only theirs are read.

A pack is one artifact: zstd frames, one after the other. Each document is its pages, then a header
frame with what is known of the trace and where its pages lie; the ledger points to the header.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, TypeAlias

import pyarrow as pa
import sqlalchemy as sa
import zstandard
from sqlalchemy.dialects import postgresql, sqlite

from flywheel.errors import BadArtifact, NotFound
from flywheel.records import split_of
from flywheel.safety import visible
from flywheel.store import Stores
from flywheel.store.ledger import Ledger
from flywheel.store.tables import trace_documents
from flywheel.traces.tool_calls import ToolCall, tool_calls_of

__all__ = [
    "Document",
    "DocumentHeader",
    "Message",
    "ToolCall",
    "open_document",
    "publish_documents",
    "tool_calls_of",
]

KIND = "documents"
# A page is what a screen shows, and small enough to be read at once; one message may be longer.
PAGE_MESSAGES = 50
PAGE_CHARACTERS = 256_000
# Text that is in memory at once, unless one trace is longer.
BATCH_BYTES = 32_000_000
OPENING_CHARACTERS = 160
# Keys in one statement, well below SQLite's limit on variables.
_KEYS = 500

_PLACE = sa.select(*trace_documents.c["artifact", "byte_offset", "byte_length"]).where(
    trace_documents.c.trace_id == sa.bindparam("trace"),
    trace_documents.c.content_hash == sa.bindparam("hash"),
)

Version: TypeAlias = tuple[str, str]
# Offset and length in bytes, position of the first message, number of messages.
_Page: TypeAlias = tuple[int, int, int, int]
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
    """One version of a trace: its header, and its messages as far as they are asked for."""

    def __init__(self, path: Path, header: DocumentHeader, pages: Sequence[_Page]):
        self.header = header
        self._path = path
        self._pages = pages

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
        end = first + count
        found: list[Message] = []
        with self._path.open("rb") as pack:
            for offset, length, start, n_messages in self._pages:
                if start < end and start + n_messages > first:
                    page = json.loads(_read_frame(pack, offset, length))
                    found += [_message(start + i, *row) for i, row in enumerate(page)]
        return [message for message in found if first <= message.position < end]


def publish_documents(stores: Stores, versions: Iterable[Version]) -> int:
    """Publish those versions (trace id, content hash) that the ledger does not know; how many.

    Versions that the warehouse does not have are left out. All of a call go into one pack, which
    stands before the ledger speaks of it.
    """
    missing = _unpublished(stores.ledger, versions)
    if not missing:
        return 0
    with stores.warehouse.open() as connection, connection.given(wanted=_table(missing)):
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
                rows.append(_write_document(pack, of_trace, messages))
    return _announce(stores.ledger, [row | {"artifact": file.name} for row in rows])


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
        header, pages = json.loads(_read_frame(pack, row.byte_offset, row.byte_length))
    if (header["trace_id"], header["content_hash"]) != (trace_id, content_hash):
        raise BadArtifact(f"{path} holds another trace where {trace_id!r} should be")
    return Document(path, _header(header), pages)


def _unpublished(ledger: Ledger, versions: Iterable[Version]) -> list[Version]:
    wanted = sorted(set(versions))
    trace_ids = sorted({trace_id for trace_id, _ in wanted})
    table, published = trace_documents.c, set()
    with ledger.read() as connection:
        for start in range(0, len(trace_ids), _KEYS):
            chunk = trace_ids[start : start + _KEYS]
            found = sa.select(table.trace_id, table.content_hash).where(table.trace_id.in_(chunk))
            published |= {tuple(row) for row in connection.execute(found)}
    return [version for version in wanted if version not in published]


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
    with stores.warehouse.open() as connection, connection.given(wanted=_table(batch)):
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


def _write_document(pack: BinaryIO, row: _Row, messages: Sequence[_Row]) -> dict[str, object]:
    """Append the pages and the header; what the ledger keeps of it, without the pack's name."""
    pages: list[_Page] = []
    for first, page in _paged(messages):
        texts = [
            [m["role"], m["content"], m["tool_calls"], m["tool_call_id"], m["name"]] for m in page
        ]
        pages.append((*_write_frame(pack, texts), first, len(page)))
    header = _header(
        {
            **row,
            "split": split_of(str(row["session_id"]), _text(row["user_id"])),
            "n_messages": len(messages),
            "metadata": row["metadata"] or "{}",
        }
    )
    offset, length = _write_frame(pack, [asdict(header), pages])
    kept = ("trace_id", "content_hash", "app", "day", "session_id", "split", "n_messages")
    return {name: getattr(header, name) for name in kept} | {
        "opening": _opening(messages),
        "byte_offset": offset,
        "byte_length": length,
    }


def _paged(messages: Sequence[_Row]) -> Iterator[tuple[int, Sequence[_Row]]]:
    """The messages page by page, each with the position of its first."""
    first, n_characters = 0, 0
    for position, message in enumerate(messages):
        more = len(str(message["content"])) + len(str(message["tool_calls"] or ""))
        is_full = position - first == PAGE_MESSAGES or n_characters + more > PAGE_CHARACTERS
        if is_full and position > first:
            yield first, messages[first:position]
            first, n_characters = position, 0
        n_characters += more
    if messages:
        yield first, messages[first:]


def _write_frame(pack: BinaryIO, content: object) -> tuple[int, int]:
    """Append one frame; its offset and its length in bytes."""
    plain = json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=_iso)
    frame = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(plain.encode())
    offset = pack.tell()
    pack.write(frame)
    return offset, len(frame)


def _read_frame(pack: BinaryIO, offset: int, length: int) -> bytes:
    pack.seek(offset)
    frame = pack.read(length)
    # Not decompress(): a damaged frame may claim to be of any size.
    unpacking = zstandard.ZstdDecompressor().decompressobj()
    try:
        plain: bytes = unpacking.decompress(frame)
    except zstandard.ZstdError as error:
        raise BadArtifact(f"{pack.name} is damaged at byte {offset}: {error}") from error
    if not unpacking.eof:
        raise BadArtifact(f"{pack.name} is damaged at byte {offset}: it ends too early")
    return plain


def _iso(moment: object) -> str:
    assert isinstance(moment, date)
    return moment.isoformat()


def _header(values: Mapping[str, object]) -> DocumentHeader:
    """A header from a row of the warehouse, or from the frame where it was written."""
    own = {field.name: values[field.name] for field in fields(DocumentHeader)}
    day, started_at = own["day"], own["started_at"]
    if isinstance(day, str):
        own["day"] = date.fromisoformat(day)
    if isinstance(started_at, str):
        started_at = datetime.fromisoformat(started_at)
    if isinstance(started_at, datetime):
        # The warehouse keeps UTC without saying so.
        own["started_at"] = started_at.replace(tzinfo=UTC)
    return DocumentHeader(**own)  # type: ignore[arg-type]


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


def _announce(ledger: Ledger, rows: Sequence[Mapping[str, object]]) -> int:
    """Tell the ledger; the number of rows that no other process had added meanwhile."""
    with ledger.begin() as connection:
        is_postgres = connection.dialect.name == "postgresql"
        insert = (postgresql if is_postgres else sqlite).insert(trace_documents)
        added = insert.on_conflict_do_nothing().returning(trace_documents.c.trace_id)
        return len(connection.execute(added, list(rows)).all()) if rows else 0

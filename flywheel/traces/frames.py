"""Frames of a pack: JSON that is compressed piece by piece, so that one piece can be read alone.

Rows in, pages of them in a file out, and the other way round. The one idea is that a page is small
enough to be read at once and large enough to be compressed well.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import local
from typing import BinaryIO, TypeAlias

import orjson
import zstandard

from flywheel.errors import BadArtifact

# A page is what a screen shows, and small enough to be read at once; one row may be longer.
PAGE_ROWS = 50
PAGE_CHARACTERS = 256_000

# Offset and length in bytes, position of the first row, number of rows.
Page: TypeAlias = tuple[int, int, int, int]
Row: TypeAlias = Sequence[object]
_own = local()


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a document: `held` already, or in pages of the pack at `path`."""

    path: Path
    pages: Sequence[Page] = ()
    held: Sequence[Row] = ()

    def __len__(self) -> int:
        return len(self.held) + sum(n_rows for *_, n_rows in self.pages)

    def between(self, first: int, end: float) -> Iterator[tuple[int, Row]]:
        """The rows from position `first` to before `end`, each with its position.

        Reads only the pages they are on; raises BadArtifact where one of these is damaged.
        """
        for place, row in enumerate(self.held):
            if first <= place < end:
                yield place, row
        wanted = [page for page in self.pages if page[2] < end and page[2] + page[3] > first]
        if not wanted:
            return
        with self.path.open("rb") as pack:
            for offset, length, start, _ in wanted:
                for place, row in enumerate(json.loads(read_frame(pack, offset, length)), start):
                    if first <= place < end:
                        yield place, row


def write_rows(
    pack: BinaryIO, rows: Sequence[Row], length: Callable[[Row], int], limit: int = PAGE_ROWS
) -> list[Page]:
    """Append the rows page by page; where the pages lie. `length` of a row is in characters."""
    return [
        (*write_frame(pack, page), first, len(page)) for first, page in _paged(rows, length, limit)
    ]


def _paged(
    rows: Sequence[Row], length: Callable[[Row], int], limit: int
) -> Iterator[tuple[int, Sequence[Row]]]:
    """The rows page by page, each with the position of its first."""
    first, n_characters = 0, 0
    for position, row in enumerate(rows):
        more = length(row)
        is_full = position - first == limit or n_characters + more > PAGE_CHARACTERS
        if is_full and position > first:
            yield first, rows[first:position]
            first, n_characters = position, 0
        n_characters += more
    if rows:
        yield first, rows[first:]


def write_frame(pack: BinaryIO, content: object) -> tuple[int, int]:
    """Append one frame; its offset and its length in bytes."""
    try:
        plain = orjson.dumps(content)
    except TypeError:
        # Halves of surrogate pairs, whole numbers of more than 64 bits.
        plain = json.dumps(content, ensure_ascii=False, default=_iso).encode("utf-8", "replace")
    frame = _compressor().compress(plain)
    offset = pack.tell()
    pack.write(frame)
    return offset, len(frame)


def _compressor() -> zstandard.ZstdCompressor:
    """That of this thread: threads cannot share one, and to make one costs as much as a frame."""
    if not hasattr(_own, "compressor"):
        _own.compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    compressor: zstandard.ZstdCompressor = _own.compressor
    return compressor


def read_frame(pack: BinaryIO, offset: int, length: int) -> bytes:
    """The JSON of one frame; raises BadArtifact where it is damaged."""
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

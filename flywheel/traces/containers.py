"""Containers: whatever a file of rows is packed in, out come JSON lines, one row a line.

A path in; a plain file of JSON lines out: the file itself where it is one, else a copy for as long
as it is needed. The one idea is that the first bytes say what a file is, never its name, and that
row n of a table, or element n of a list, is line n: what is said of the line is said of the row.
"""

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

from flywheel.errors import BadInput
from flywheel.traces.json_documents import is_document, rows_of_document
from flywheel.traces.lines import CHUNK_BYTES
from flywheel.traces.tables import PARQUET, delimiter_of, rows_of_csv, rows_of_parquet

_GZIP = b"\x1f\x8b"
# What is looked at to say what a file is.
_HEAD_BYTES = 64 << 10


@contextmanager
def plain_file(path: Path) -> Iterator[Path]:
    """A file of JSON lines with the rows of this one, for as long as the block runs.

    JSON lines, one JSON list, a page of an API, objects over many lines, CSV with a header and
    Parquet, each plain or compressed by gzip or zstd. Raises BadInput where there is no file, or a
    damaged one.
    """
    if not path.is_file():
        raise BadInput(
            f"{path} is a folder; name the files in it" if path.is_dir() else f"no file {path}"
        )
    with tempfile.TemporaryDirectory(prefix="flywheel-") as scratch:
        plain = path
        if _head(path).startswith((_GZIP, zstandard.FRAME_HEADER)):
            plain = Path(scratch) / "plain"
            _decompress(path, plain)
        rows = _rows(plain, path)
        if rows is not None:
            lines = Path(scratch) / "lines"
            with lines.open("wb") as file:
                file.writelines(row + b"\n" for row in rows)
            plain = lines
        yield plain


def _rows(plain: Path, path: Path) -> Iterable[bytes] | None:
    """The rows of anything but JSON lines."""
    head = _head(plain)
    if head.startswith(PARQUET):
        return rows_of_parquet(plain, path)
    if is_document(head):
        return _read_whole(plain, None)
    delimiter = delimiter_of(head)
    return _read_whole(plain, delimiter) if delimiter else None


def _read_whole(plain: Path, delimiter: str | None) -> Iterator[bytes]:
    with plain.open("rb") as file:
        yield from rows_of_csv(file, delimiter) if delimiter else rows_of_document(file)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _decompress(path: Path, plain: Path) -> None:
    try:
        with path.open("rb") as packed, plain.open("wb") as target:
            if _head(path).startswith(_GZIP):
                with gzip.open(packed) as source:
                    shutil.copyfileobj(source, target, CHUNK_BYTES)
            else:
                with zstandard.ZstdDecompressor().stream_reader(
                    packed, read_across_frames=True
                ) as source:
                    shutil.copyfileobj(source, target, CHUNK_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise BadInput(f"{path} is damaged and cannot be decompressed: {error}") from error

"""Lines of a file from outside, numbered; every one of them may be hostile.

Bytes in; chunks of numbered texts out, and what is wrong with the lines that are no text. The one
idea is that memory is bounded by the chunk and the longest line that is allowed, never by the file.
"""

import gzip
import json
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import zstandard

from flywheel.errors import BadInput

CHUNK_BYTES = 16 << 20
MAX_LINE_BYTES = 128 << 20
# Python's own JSON reader gives up at some 1,000 levels, and DuckDB's json_merge_patch crashes the
# process at some 80,000: it recurses.
MAX_DEPTH = 500

_BOM = b"\xef\xbb\xbf"
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


@dataclass(frozen=True, slots=True)
class LineChunk:
    """Some lines that are UTF-8 and not blank, their numbers from 1, and why others are not."""

    numbers: list[int] = field(default_factory=list)
    # As bytes: one emoji makes a string of Python four times as large.
    lines: list[bytes] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)


def numbered_lines(file: BinaryIO) -> Iterator[LineChunk]:
    """All lines that are not blank, in order, stripped of white space at both ends."""
    number = 0
    for lines in _split(file):
        chunk = LineChunk()
        for line in lines:
            number += 1
            line = (line.removeprefix(_BOM) if number == 1 else line).strip()
            if not line:
                continue
            why = _unreadable(line)
            if why is None:
                chunk.numbers.append(number)
                chunk.lines.append(line)
            else:
                chunk.rejected.append((number, why))
        if chunk.numbers or chunk.rejected:
            yield chunk


def explain(line: bytes, messages: str) -> str:
    """Why a line gave no trace; `messages` is where its format keeps the messages."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at character {error.pos + 1}"
    except (ValueError, RecursionError) as error:
        return f"not JSON that can be stored: {error}"
    if not isinstance(row, dict):
        return "not a JSON object"
    for key in messages.split("."):
        row = row.get(key) if isinstance(row, dict) else None
    if isinstance(row, list) and _SURROGATE.search(line):
        return "not JSON that can be stored: half of a surrogate pair, such as \\ud83d, is no text"
    return f"has no list of messages under {messages!r}"


@contextmanager
def plain_file(path: Path) -> Iterator[Path]:
    """The file itself, or a decompressed copy of a .gz or .zst for as long as the block runs.

    Which one it is, its first bytes say. Raises BadInput where there is no file, or a damaged one.
    """
    if not path.is_file():
        raise BadInput(
            f"{path} is a folder; name the files in it" if path.is_dir() else f"no file {path}"
        )
    with path.open("rb") as file:
        magic = file.read(4)
    if not magic.startswith((b"\x1f\x8b", zstandard.FRAME_HEADER)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="flywheel-") as scratch:
        plain = Path(scratch) / "plain"
        _decompress(path, plain, is_gzip=magic.startswith(b"\x1f\x8b"))
        yield plain


def _decompress(path: Path, plain: Path, is_gzip: bool) -> None:
    try:
        with path.open("rb") as packed, plain.open("wb") as target:
            if is_gzip:
                with gzip.open(packed) as source:
                    shutil.copyfileobj(source, target, CHUNK_BYTES)
            else:
                with zstandard.ZstdDecompressor().stream_reader(
                    packed, read_across_frames=True
                ) as source:
                    shutil.copyfileobj(source, target, CHUNK_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise BadInput(f"{path} is damaged and cannot be decompressed: {error}") from error


def _split(file: BinaryIO) -> Iterator[list[bytes]]:
    rest = b""
    while block := file.read(CHUNK_BYTES):
        lines = (rest + block).split(b"\n")
        # What is cut off here is longer than is allowed, and will be rejected whole.
        rest = lines.pop()[: MAX_LINE_BYTES + 1]
        yield lines
    yield [rest]


def _unreadable(line: bytes) -> str | None:
    if len(line) > MAX_LINE_BYTES:
        return f"longer than {MAX_LINE_BYTES >> 20} MiB"
    if line.count(b"{") + line.count(b"[") > MAX_DEPTH and _depth(line) > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels"
    if not line.isascii():
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            return f"not UTF-8 at byte {error.start + 1}"
    return None


def _depth(line: bytes) -> int:
    brackets = _STRING.sub(b"", line).translate(None, _NO_BRACKET)
    return max(accumulate(1 if c in b"[{" else -1 for c in brackets), default=0)

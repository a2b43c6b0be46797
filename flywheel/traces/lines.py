"""Lines of a file from outside, numbered; every one of them may be hostile.

Bytes in; chunks of numbered texts out, and what is wrong with the lines that are no text. The one
idea is that memory is bounded by the chunk and the longest line that is allowed, never by the file.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import BinaryIO

CHUNK_BYTES = 16 << 20
MAX_LINE_BYTES = 128 << 20
# Python's own JSON reader gives up at some 1,000 levels, and DuckDB's json_merge_patch crashes the
# process at some 80,000: it recurses.
MAX_DEPTH = 500

_BOM = b"\xef\xbb\xbf"
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_ONE_BRACKET = bytes.maketrans(b"{}", b"[]")
_PASSES = 32
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


@dataclass(frozen=True, slots=True)
class LineChunk:
    """Some lines that are UTF-8 and not blank, their numbers from 1, and why others are not."""

    numbers: list[int] = field(default_factory=list)
    # As bytes: one emoji makes a string of Python four times as large.
    lines: list[bytes] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)


def numbered_lines(file: BinaryIO, max_depth: int | None = MAX_DEPTH) -> Iterator[LineChunk]:
    """All lines that are not blank, in order, stripped of white space at both ends.

    Without a `max_depth` the caller's own reader is one that refuses to nest too deeply.
    """
    number = 0
    for lines in _split(file):
        chunk = LineChunk()
        for line in lines:
            number += 1
            line = (line.removeprefix(_BOM) if number == 1 else line).strip()
            if not line:
                continue
            why = _unreadable(line, max_depth)
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


def _split(file: BinaryIO) -> Iterator[list[bytes]]:
    rest = b""
    while block := file.read(CHUNK_BYTES):
        lines = (rest + block).split(b"\n")
        # What is cut off here is longer than is allowed, and will be rejected whole.
        rest = lines.pop()[: MAX_LINE_BYTES + 1]
        yield lines
    yield [rest]


def _unreadable(line: bytes, max_depth: int | None) -> str | None:
    if len(line) > MAX_LINE_BYTES:
        return f"longer than {MAX_LINE_BYTES >> 20} MiB"
    if max_depth is not None and is_deeper(line, max_depth):
        return f"nested deeper than {max_depth} levels"
    if not line.isascii():
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            return f"not UTF-8 at byte {error.start + 1}"
    return None


def is_deeper(line: bytes, levels: int) -> bool:
    """Whether the JSON in `line` is nested deeper than that; it need not be whole."""
    if line.count(b"{") + line.count(b"[") <= levels:
        return False
    # What is between quotes is a text, once the escaped ones are gone.
    parts = line.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    brackets = b"".join(parts[::2]).translate(_ONE_BRACKET, _NO_BRACKET)
    # Each pass takes the innermost pairs away: a level of what anybody really writes.
    taken = 0
    while brackets and taken < _PASSES:
        left = brackets.replace(b"[]", b"")
        if len(left) == len(brackets):
            break
        brackets = left
        taken += 1
    depths = accumulate(1 if c == 0x5B else -1 for c in brackets)
    return taken + max(depths, default=0) > levels

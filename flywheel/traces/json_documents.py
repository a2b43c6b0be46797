"""JSON that is not one object a line: lists, pages of an API, objects over many lines.

Bytes in, the bytes of one row after the other out, none of them parsed. The one idea is to follow
the brackets alone, so that memory is bounded by the longest row that is allowed, and that one bad
row of a list costs no other.
"""

import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from flywheel.traces.lines import CHUNK_BYTES, MAX_LINE_BYTES

# Kept of what follows a row that never ends.
_REMAINDER_BYTES = 1 << 20
# What an API may say of a page before its rows.
_PAGE_HEAD_BYTES = 64 << 10
# Under these keys an API gives a page of rows, beside nothing but these others.
_ROWS = rb'"(?:data|runs|traces|spans|content|items|results|observations|scores|feedback)"'
_PAGING = (
    rb'"(?:object|meta|links|page|size|total|totalItems|total_count|limit|offset|cursor|cursors'
    rb'|next_cursor|nextCursor|next_page_token|has_more|first_id|last_id|sortableBy|count)"'
)
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_PAGE = re.compile(
    rb"\s*\{\s*(?:" + _PAGING + rb"\s*:\s*(?:" + _STRING + rb"|[-\w.+]++"
    rb"|\{(?:[^{}\[\]\"]++|" + _STRING + rb")*+\}|\[(?:[^{}\[\]\"]++|" + _STRING + rb")*+\])"
    rb"\s*,\s*)*+" + _ROWS + rb"\s*:\s*\[(?=\s*[{\]])",
    re.DOTALL,
)
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+([\[\]{}])", re.DOTALL)
_SCALAR = re.compile(_STRING + rb'|[^\s,\[\]{}"]++', re.DOTALL)
_SPACE = re.compile(rb"[\s]*+")


def is_document(head: bytes) -> bool:
    """Whether a file that begins like this is anything else than one JSON object a line."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _PAGE.match(start):
        return True
    first, _, others = start.partition(b"\n")
    second = others.lstrip(b"\r\n")[:1]
    if start[:1] == b"[":
        return not (second == b"{" and _is_json(first))
    # A line that is cut off is one bad line; an object over many lines goes on in the second.
    return start[:1] == b"{" and second not in (b"", b"{") and not _is_json(first)


def rows_of_document(file: BinaryIO) -> Iterator[bytes]:
    """Each row, without line breaks; what cannot be told apart any more is the last one."""
    source = _Source(file)
    while byte := source.next_byte():
        page = source.page_start()
        if page is None and byte != b"[":
            row = source.value()
            yield source.remainder() if row is None else row
            continue
        source.start = source.start + 1 if page is None else page
        yield from _elements(source)
        if page is not None:
            source.leave_object()


def _elements(source: "_Source") -> Iterator[bytes]:
    while byte := source.next_byte():
        if byte in (b",", b"]"):
            source.start += 1
            if byte == b"]":
                return
            continue
        row = source.value()
        yield source.remainder() if row is None else row
    # It was cut off between two rows: an open bracket is rejected, and so it is told.
    yield b"["


class _Source:
    """A file as far as it is held, from `start` on."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.buffer = b""
        self.start = 0

    def next_byte(self) -> bytes:
        """The next byte that is no white space, which stays; empty at the end."""
        while True:
            self.start = self._space_end()
            if self.start < len(self.buffer):
                return self.buffer[self.start : self.start + 1]
            if not self._more():
                return b""

    def page_start(self) -> int | None:
        """Where the rows begin, if what comes is a page of an API."""
        while len(self.buffer) - self.start < _PAGE_HEAD_BYTES and self._more():
            pass
        page = _PAGE.match(self.buffer, self.start)
        return page.end() if page else None

    def value(self) -> bytes | None:
        """The next value; None where it has no end, or one that is too far away."""
        end = self._bracketed() if self.next_byte() in (b"{", b"[") else self._scalar()
        if end is None:
            return None
        found = self.buffer[self.start : end]
        self.start = end
        return found.replace(b"\n", b" ").replace(b"\r", b" ")

    def remainder(self) -> bytes:
        """What is left, and is no value; the beginning of it."""
        found = self.buffer[self.start : self.start + _REMAINDER_BYTES]
        self.start = len(self.buffer)
        while self._more():
            self.start = len(self.buffer)
        return found.replace(b"\n", b" ").replace(b"\r", b" ")

    def leave_object(self) -> None:
        """Go past the end of the object that this is within."""
        end = self._bracketed(depth=1)
        self.start = len(self.buffer) if end is None else end

    def _bracketed(self, depth: int = 0) -> int | None:
        length = 0
        while True:
            if found := _TO_BRACKET.match(self.buffer, self.start + length):
                length = found.end() - self.start
                depth += 1 if found[1] in b"{[" else -1
                if depth == 0:
                    return self.start + length
            elif len(self.buffer) - self.start > MAX_LINE_BYTES or not self._more():
                return None

    def _scalar(self) -> int | None:
        while True:
            found = _SCALAR.match(self.buffer, self.start)
            if found and found.end() < len(self.buffer):
                return found.end()
            if len(self.buffer) - self.start > MAX_LINE_BYTES or not self._more():
                return found.end() if found else None

    def _space_end(self) -> int:
        found = _SPACE.match(self.buffer, self.start)
        return found.end() if found else self.start

    def _more(self) -> bool:
        """Read as much again as is held, so that long values are not gone over too often."""
        held = self.buffer[self.start :]
        block = self._file.read(max(CHUNK_BYTES, len(held)))
        self.buffer, self.start = held + block, 0
        return bool(block)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True

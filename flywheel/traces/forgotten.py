"""Lines of traces without those of people who were forgotten, whatever the format.

A file of JSON lines in, the same file out, in which their lines are blank and their spans gone; the
one idea is that a line that stays keeps its number and its bytes. Nobody is named: a value is
theirs where its keyed hash is a tombstone's.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from flywheel.store.tombstones import Kind
from flywheel.traces.lines import MAX_LINE_BYTES

_SEPARATORS = re.compile(r"[._\-]")
_TRACES = {"traceid", "customid", "runid", "rootrunid"}
_SESSIONS = {"sessionid", "threadid", "conversationid", "session", "tracesession"}
# Of whose parts each is a trace or a span by itself; what is in any other list is a part of it.
_ROWS = {
    *("resourcespans", "scopespans", "spans", "data", "traces", "observations", "runs"),
    *("childruns", "items", "results", "scores", "feedback", "batch"),
}
# A span that refers to another's trace is not of that trace.
_REFERENCES = {"links", "references"}
# What was said, or given to a tool: whom it speaks of is not whose it is.
_SAID = {
    *("messages", "content", "arguments", "toolcalls"),
    *("input", "output", "inputs", "outputs", "inputvalue", "outputvalue"),
    *("mlflowspaninputs", "mlflowspanoutputs", "genaiinputmessages", "genaioutputmessages"),
}
_LONGEST_ID = 1_000


class Known(Protocol):
    """Who tells whether a trace, a session or a user must go."""

    def is_gone(self, kind: Kind, name: str, apps: frozenset[str]) -> bool:
        """Whether this name of that kind must go, in one of these applications."""


def without_forgotten(source: Path, target: Path, known: Known, app: str) -> int:
    """Write `source` to `target` without what must go; the number of lines that changed.

    `app` is the application of lines that name none. A file is read twice: spans of one trace may
    stand in several lines, of which one names the user.
    """
    sieve = Sieve(known)
    with source.open("rb") as file:
        for line in _lines(file):
            sieve.sift(line, app)
    n_changed = 0
    with source.open("rb") as file, target.open("wb") as kept:
        for line in _lines(file):
            sifted = sieve.sift(line, app)
            n_changed += sifted is not line
            kept.write(sifted)
    return n_changed


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends; what is longer than any that is read comes in pieces."""
    while line := file.readline(MAX_LINE_BYTES):
        yield line


class Sieve:
    """Lines in, what is left of them out; it remembers the traces that a line has given away."""

    def __init__(self, known: Known):
        self._known = known
        # Traces of which a line that was read names somebody who must go.
        self._also: set[str] = set()

    def sift(self, line: bytes, app: str) -> bytes:
        """The line itself, what is left of it, or a blank one."""
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return line
        if not isinstance(row, dict | list):
            return line
        apps = frozenset(_apps_of(row)) or frozenset({app or "default"})
        try:
            left = self._left(row, apps)
        except RecursionError:
            return line
        if left is row:
            return line
        end = b"\n" if line.endswith(b"\n") else b""
        return end if left is None else json.dumps(left).encode() + end

    def _left(self, row: object, apps: frozenset[str]) -> object | None:
        """The same row where nothing of it must go, what is left of it, or None."""
        if isinstance(row, list):
            kept = [left for part in row if (left := self._left(part, apps)) is not None]
            is_same = len(kept) == len(row) and all(a is b for a, b in zip(kept, row, strict=True))
            return row if is_same else kept or None
        if not isinstance(row, dict):
            return row
        if self._names_them(row, apps):
            self._also.update(_trace_ids(row))
            return None
        changed: dict[str, object] = {}
        for key, value in row.items():
            if isinstance(value, list) and _plain(key) in _ROWS and value:
                left = self._left(value, apps)
                if left is None:
                    return None
                if left is not value:
                    changed[key] = left
        return row | changed if changed else row

    def _names_them(self, row: Mapping[str, object], apps: frozenset[str]) -> bool:
        """Whether a row, or what is a part of it, belongs to somebody who must go."""
        named = _attribute(row)
        if named is not None and _plain(named[0]) in _SAID:
            return False
        for key, value in row.items():
            plain = _plain(key)
            if plain in _SAID:
                continue
            if isinstance(value, dict):
                if plain not in _REFERENCES and self._names_them(value, apps):
                    return True
            elif isinstance(value, list):
                if plain not in _ROWS | _REFERENCES and self._is_in(value, apps):
                    return True
            elif self._is_theirs(key, value, apps):
                return True
        return named is not None and self._is_theirs(*named, apps)

    def _is_in(self, parts: list[object], apps: frozenset[str]) -> bool:
        for part in parts:
            if isinstance(part, dict) and self._names_them(part, apps):
                return True
            if isinstance(part, list) and self._is_in(part, apps):
                return True
        return False

    def _is_theirs(self, key: str, value: object, apps: frozenset[str]) -> bool:
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            return False
        text, plain = str(value), _plain(key)
        if text[:1] == "{" and text[-1:] == "}":
            try:
                inner = json.loads(text)
            except (ValueError, RecursionError):
                return False
            return isinstance(inner, dict) and self._names_them(inner, apps)
        if len(text) > _LONGEST_ID:
            return False
        last = "".join(_SEPARATORS.split(key.lower())[-2:])
        if plain == "id" or plain in _TRACES or last in _TRACES:
            return text in self._also or self._known.is_gone("trace", text, apps)
        if plain in _SESSIONS or last in _SESSIONS:
            return self._known.is_gone("session", text, apps)
        return "user" in plain and self._known.is_gone("user", text, apps)


def _plain(key: str) -> str:
    return _SEPARATORS.sub("", key.lower())


def _attribute(row: Mapping[str, object]) -> tuple[str, object] | None:
    """Name and value of one of OTLP's attributes."""
    key, value = row.get("key"), row.get("value")
    if isinstance(key, str) and isinstance(value, dict) and len(value) == 1:
        return key, next(iter(value.values()))
    return None


def _trace_ids(row: object) -> Iterator[str]:
    """The traces that a row is of, or rows in it; a row without any other is one by its own id."""
    found = list(_under(row, _TRACES))
    own = row.get("id") if isinstance(row, dict) else None
    yield from found or ([own] if isinstance(own, str) else [])


def _under(row: object, names: set[str]) -> Iterator[str]:
    if isinstance(row, dict):
        for key, value in row.items():
            if isinstance(value, str) and _plain(key) in names:
                yield value
            elif _plain(key) not in _REFERENCES:
                yield from _under(value, names)
    elif isinstance(row, list):
        for part in row:
            yield from _under(part, names)


def _apps_of(row: object) -> Iterator[str]:
    """The applications that a line names."""
    if isinstance(row, dict):
        named = _attribute(row)
        if named and named[0] == "service.name" and isinstance(named[1], str):
            yield named[1]
        for key, value in row.items():
            if key in ("app", "service.name", "project_name") and isinstance(value, str) and value:
                yield value
            elif key in ("resource", "attributes", "resourceSpans", "metadata"):
                yield from _apps_of(value)
    elif isinstance(row, list):
        for part in row:
            yield from _apps_of(part)

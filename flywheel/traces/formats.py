"""Formats of traces: which columns a file's rows have, and how they become ours.

A path in, a `Format` or a `SpanFormat` out. The one idea is that a format is one file. Where a row
is a trace that is sql/traces/formats/<name>.sql: its opening comment names the keys that give it
away and the types of its columns, and its SELECT maps rows of `file_rows` onto the columns of
traces/parsed_rows. A column that it leaves out is null, and what no column of its takes is in
`rest`, which goes to the metadata. Where a row is a span, or a tree of them, it is a module in
flywheel/traces/spans/formats/.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from flywheel.errors import BadInput, NotFound
from flywheel.store.queries import SQL_FOLDER
from flywheel.traces.containers import plain_file
from flywheel.traces.lines import numbered_lines
from flywheel.traces.spans.formats import SpanFormat, span_formats
from flywheel.traces.spans.json_values import decoded

# Rows that are looked at before a format is named.
SAMPLE_ROWS = 20

_HEADER = re.compile(r"^-- (\w+): (.*(?:\n--   .*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Format:
    """One format: `keys` are its fingerprints, each a set of keys that a row has all of.

    `columns` is the structure that DuckDB's from_json takes, `known` the same with every leaf null,
    `messages` the path of the messages, for error messages, and `query` the name of its mapping.
    """

    name: str
    keys: tuple[frozenset[str], ...]
    columns: str
    known: str
    messages: str
    query: str

    def matches(self, keys: frozenset[str]) -> int:
        """How many keys the most specific fingerprint has that the row has too; 0 for none."""
        return max((len(own) for own in self.keys if own <= keys), default=0)


def _read_format(path: Path) -> Format:
    headers: dict[str, list[str]] = {}
    for name, value in _HEADER.findall(path.read_text(encoding="utf-8")):
        headers.setdefault(name, []).append(value.replace("\n--", ""))
    columns = json.loads(headers["columns"][0])
    return Format(
        name=headers["format"][0],
        keys=tuple(frozenset(key.strip() for key in keys.split(",")) for keys in headers["keys"]),
        columns=json.dumps(columns),
        known=json.dumps(_nulls(columns)),
        messages=headers["messages"][0],
        query=f"traces/formats/{path.stem}",
    )


def _nulls(columns: object) -> object:
    if isinstance(columns, dict):
        return {name: _nulls(column) for name, column in columns.items()}
    return None


def with_columns(format: Format, **columns: str) -> Format:
    """The same format with further columns, by the types that DuckDB's from_json takes."""
    more = json.loads(format.columns) | columns
    return replace(format, columns=json.dumps(more), known=json.dumps(_nulls(more)))


FORMATS: dict[str, Format] = {
    made.name: made
    for made in map(_read_format, sorted((SQL_FOLDER / "traces" / "formats").glob("*.sql")))
}


def all_formats() -> dict[str, Format | SpanFormat]:
    """Formats of both kinds, by their names."""
    return {**FORMATS, **span_formats()}


def format_named(name: str) -> Format | SpanFormat:
    """The format of that name; raises NotFound where there is none."""
    known = all_formats()
    if name not in known:
        raise NotFound("format", name, list(known))
    return known[name]


def recognise(path: Path) -> Format | SpanFormat:
    """The format of a file by the keys of its first rows, whatever its name.

    Raises BadInput where the file is missing, empty, no text, or in none of the formats.
    """
    with plain_file(path) as plain:
        return recognise_rows(first_rows(plain, path), path)


def first_rows(plain: Path, path: Path) -> list[dict[str, object]]:
    """The first JSON objects among a plain file's lines; errors call it `path`.

    Raises BadInput where the file is empty, or no text.
    """
    with plain.open("rb") as file:
        start = file.read(4096)
        file.seek(0)
        if b"\0" in start:
            raise BadInput(f"{path} is no UTF-8 text; {_WHAT_WORKS}")
        for chunk in numbered_lines(file, max_depth=None):
            rows = (row for line in chunk.lines if (row := _row(line)))
            return list(islice(rows, SAMPLE_ROWS))
    raise BadInput(f"{path} is empty; {_WHAT_WORKS}")


def recognise_rows(rows: list[dict[str, object]], path: Path) -> Format | SpanFormat:
    """The format that most of these rows have; raises BadInput where none has one."""
    votes = Counter(found.name for row in rows if (found := _format_of(row)))
    if votes:
        return all_formats()[votes.most_common(1)[0][0]]
    keys = ", ".join(sorted(rows[0])[:8]) if rows else ""
    found_instead = f"its rows have the keys {keys}" if keys else "no line of it is a JSON object"
    raise BadInput(f"{path} is in no known format: {found_instead}; {_WHAT_WORKS}")


_WHAT_WORKS = (
    "what works is JSON, JSON lines, CSV with a header and Parquet, plain or compressed by gzip or "
    "zstd, in one of the formats " + ", ".join(all_formats())
)


def _format_of(row: dict[str, object]) -> Format | SpanFormat | None:
    keys = frozenset(_fingerprint(row))
    best = max(all_formats().values(), key=lambda known: known.matches(keys))
    return best if best.matches(keys) else None


def _fingerprint(row: dict[str, object]) -> list[str]:
    """Its keys, and `key.inner` for the keys of an object, or of a list's first object."""
    keys = list(row)
    for key, value in row.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            keys += [f"{key}.{name}" for name in inner]
    return keys


def _row(line: bytes) -> dict[str, object] | None:
    try:
        row = decoded(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None

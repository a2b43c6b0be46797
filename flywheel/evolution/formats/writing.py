"""Rows as text that a model reads: JSON, CSV, tabs, a Markdown table; each read back as it was.

Rows in, text out, and back. The one idea is that a format which loses anything is not eligible, so
a value that would be read as another kind is written as JSON inside its cell: a text `12` is `"12"`
there, null is an empty cell, and an empty text `""`.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.errors import BadInput

Rows = Sequence[Mapping[str, Any]]
_NUMBER = re.compile(r"-?[0-9]")


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write rows; `is_flat` takes only rows of the same plain columns."""

    name: str
    said: str
    is_flat: bool
    write: Callable[[Rows], str]
    read: Callable[[str], list[dict[str, Any]]]


def why_not(format: Format, rows: Rows) -> str:
    """Why rows cannot be written so, as the end of a sentence; empty where they can.

    The last question is asked of the text itself: whether it is read back as it was.
    """
    if format.is_flat:
        if not rows or not rows[0]:
            return "there is no row, or a row has no column"
        if any(list(row) != list(rows[0]) for row in rows):
            return "rows have different columns"
        if any(isinstance(value, (dict, list)) for row in rows for value in row.values()):
            return "a value is a list or an object"
    try:
        read = format.read(format.write(rows))
    except (ValueError, csv.Error) as error:
        return f"it cannot be read back: {error}"
    return "" if same(read, rows) else "it is not read back as it was"


def same(one: Rows, other: Rows) -> bool:
    """Whether rows are equal in their values, the kinds of them and their order."""
    return _exact(one) == _exact(other)


def _exact(rows: Rows) -> str:
    return json.dumps([list(row.items()) for row in rows])


def write_rows(rows: Rows, name: str) -> str:
    """Rows in the format of this name; raises BadInput where they cannot be."""
    if name not in FORMATS:
        raise BadInput(f"there is no format {name!r}; known: {', '.join(FORMATS)}")
    if why := why_not(FORMATS[name], rows):
        raise BadInput(f"these rows cannot be written as {name}: {why}; write them as json")
    return FORMATS[name].write(rows)


def _json(rows: Rows) -> str:
    return json.dumps(list(rows), ensure_ascii=False, separators=(",", ":"))


def _json_lines(rows: Rows) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)


def _json_indented(rows: Rows) -> str:
    return json.dumps(list(rows), ensure_ascii=False, indent=2)


def _read_json(text: str) -> list[dict[str, Any]]:
    return list(json.loads(text))


def _read_json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n") if line]


def _delimited(mark: str) -> Callable[[Rows], str]:
    def write(rows: Rows) -> str:
        lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
        return "\n".join(mark.join(_quoted(cell, mark) for cell in line) or '""' for line in lines)

    return write


def _quoted(cell: str, mark: str) -> str:
    """A cell in quotation marks where it needs them; a lone return does, which csv leaves bare."""
    if any(sign in cell for sign in (mark, '"', "\n", "\r")):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _read_delimited(mark: str) -> Callable[[str], list[dict[str, Any]]]:
    def read(text: str) -> list[dict[str, Any]]:
        # The reader's limit is one for the whole process, and too low for a conversation.
        csv.field_size_limit(max(csv.field_size_limit(), len(text)))
        names, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        return [{name: _value(cell) for name, cell in zip(names, row, strict=True)} for row in rows]

    return read


def _cell(value: object) -> str:
    """A value as a cell: a text as it is, unless it would be read as something else."""
    if value is None:
        return ""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if _value(value) != value else value
    return json.dumps(value)


def _value(cell: str) -> object:
    """What a cell says: JSON where it is a number, a truth, a null or a text in quotation marks."""
    if cell == "":
        return None
    if cell in ("true", "false", "null") or cell[0] == '"' or _NUMBER.match(cell):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _markdown(rows: Rows) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names)]
    lines += [[_cell(value) for value in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(map(_bar_cell, line))} |" for line in lines)


def _bar_cell(text: str) -> str:
    """A cell between bars: no bar of its own, no line's end, no space that its frame would eat."""
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "\\n").replace("\r", "\\r")
    if text != text.strip():
        text = f"\\s{text}\\s"
    return text


def _read_markdown(text: str) -> list[dict[str, Any]]:
    names, _, *rows = [_bar_cells(line) for line in text.split("\n")]
    return [{n: _value(cell) for n, cell in zip(names, row, strict=True)} for row in rows]


_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_MEANT = {"n": "\n", "r": "\r", "s": "", "\\": "\\", "|": "|"}


def _bar_cells(line: str) -> list[str]:
    """The cells of a line; a bar behind an escape ends none."""
    cells = re.findall(r"(?:[^|\\]|\\.)+", line.removeprefix("|").removesuffix("|"))
    return [_ESCAPED.sub(lambda found: _MEANT[found[1]], cell[1:-1]) for cell in cells]


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format("json", "JSON on one line", False, _json, _read_json),
        Format("json-lines", "JSON, a row a line", False, _json_lines, _read_json_lines),
        Format("json-indented", "JSON, indented", False, _json_indented, _read_json),
        Format("csv", "CSV with a header", True, _delimited(","), _read_delimited(",")),
        Format("tsv", "columns between tabs", True, _delimited("\t"), _read_delimited("\t")),
        Format("markdown", "a Markdown table", True, _markdown, _read_markdown),
    )
}

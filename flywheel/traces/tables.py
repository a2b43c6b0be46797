"""Tables: CSV and Parquet in, one JSON object a row out, its keys the names of the columns.

The one idea is that a cell whose text is a JSON object or list is one: tools write them so, and
what is looked for in a row, such as a user who was forgotten, is found in it. Memory is bounded by
a batch of rows.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.errors import BadInput
from flywheel.traces.lines import MAX_LINE_BYTES

PARQUET = b"PAR1"
_BATCH_ROWS = 500
_DELIMITERS = (",", ";", "\t")
_COLUMN = re.compile(r"[\w .:/()%#-]{1,100}")


def delimiter_of(head: bytes) -> str | None:
    """What separates the cells of a CSV file that begins like this; None where it is none.

    Its first line has to be a header: two names or more, each of them once.
    """
    lines = head.decode("utf-8-sig", errors="surrogateescape").lstrip("\r\n").splitlines()
    if not lines or "\0" in lines[0] or lines[0][:1] in ("{", "["):
        return None
    if len(lines) > 1 and lines[1].startswith("{"):
        return None
    for delimiter in _DELIMITERS:
        names = next(csv.reader(lines[:1], delimiter=delimiter), [])
        if len(names) > 1 and len(set(names)) == len(names) and all(map(_COLUMN.fullmatch, names)):
            return delimiter
    return None


def rows_of_csv(file: BinaryIO, delimiter: str) -> Iterator[bytes]:
    """Each row after the header; an empty cell is null, one too many makes the row a list."""
    # The reader's own limit is 128 KiB, and a conversation is longer.
    csv.field_size_limit(MAX_LINE_BYTES)
    # Bytes that are no text go through, and are rejected as such with their line.
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.reader(text, delimiter=delimiter)
    names = next((row for row in rows if row), [])
    try:
        for cells in rows:
            if len(cells) > len(names):
                yield _line(cells)
            elif cells:
                cells += [""] * (len(names) - len(cells))
                yield _line({name: cell or None for name, cell in zip(names, cells, strict=True)})
    except csv.Error as error:
        yield _line([str(error)])
    finally:
        # The file is the caller's to close.
        text.detach()


def rows_of_parquet(path: Path, named: Path) -> Iterator[bytes]:
    """Each row of a Parquet file; raises BadInput, which calls it `named`, where it is damaged."""
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as table:
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                rows = batch.cast(_in_microseconds(batch.schema), safe=False)
                for row in rows.to_pylist(maps_as_pydicts="lossy"):
                    yield _line(row)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BadInput(f"{named} is a damaged Parquet file: {str(error)[:200]}") from error


def _in_microseconds(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_type(_coarser(field.type)) for field in schema])


def _coarser(kind: pa.DataType) -> pa.DataType:
    """The same type without nanoseconds, which no time of Python has."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_duration(kind):
        return pa.duration("us")
    if pa.types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        return pa.struct([field.with_type(_coarser(field.type)) for field in fields])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_coarser(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_coarser(kind.value_type)))
    return kind


def _line(row: Mapping[str, object] | list[str]) -> bytes:
    if isinstance(row, list):
        text = _json(row)
    else:
        cells = (f"{_json(name)}: {_packed(value) or _json(value)}" for name, value in row.items())
        text = "{" + ", ".join(cells) + "}"
    return text.encode("utf-8", "surrogateescape")


def _packed(value: object) -> str | None:
    """The text of a cell where it is a JSON object or list, as it stands there."""
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return None
    try:
        orjson.loads(value)
    except ValueError:
        return None
    # Within the texts of JSON a line break is escaped.
    return value.replace("\r", " ").replace("\n", " ")


def _json(value: object) -> str:
    try:
        return _encode(value)
    except ValueError:
        return _encode(_without_nan(value))


def _plain(value: object) -> object:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise ValueError(f"a cell of the type {type(value).__name__}")


def _without_nan(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return value


# Made once: an encoder a cell would cost more than the cell.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain).encode

"""Containers: lists, pages, tables and compressed files of rows are the same rows, line by line."""

import csv
import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from flywheel.errors import BadInput
from flywheel.store import Project
from flywheel.traces import json_documents
from flywheel.traces.containers import plain_file
from flywheel.traces.importing import import_file
from flywheel.traces.lines import numbered_lines
from tests.conftest import trace

ROWS = [trace("a", "hi [there]", 'say "]" or {'), trace("b", "é 😀", "line\nbreak", "so")]


def rows_in(path: Path) -> list[object]:
    with plain_file(path) as plain:
        return [json.loads(line) for line in plain.read_bytes().splitlines()]


def lines_in(path: Path) -> list[bytes]:
    with plain_file(path) as plain:
        return plain.read_bytes().splitlines()


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


WRITTEN: dict[str, Callable[[], str]] = {
    "lines": lambda: "".join(json.dumps(row) + "\n" for row in ROWS),
    "list": lambda: json.dumps(ROWS),
    "list over many lines": lambda: json.dumps(ROWS, indent=2),
    "page": lambda: json.dumps({"object": "list", "data": ROWS, "meta": {"page": [1]}}),
    "page after its own words": lambda: json.dumps({"page": 1, "content": ROWS}, indent=1),
    "two pages": lambda: 2 * (json.dumps({"data": ROWS[:1], "next_cursor": None}) + "\n"),
    "objects over many lines": lambda: "".join(json.dumps(row, indent=2) for row in ROWS),
}


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("packed", ["plain", "gzip", "zstd"])
def test_rows_are_the_same_whatever_they_are_packed_in(
    how: str, packed: str, tmp_path: Path
) -> None:
    content = WRITTEN[how]().encode()
    if packed == "gzip":
        content = gzip.compress(content)
    elif packed == "zstd":
        content = zstandard.compress(content)
    expected = [ROWS[0]] * 2 if how == "two pages" else ROWS
    assert rows_in(write(tmp_path / "export.bin", content)) == expected


def test_a_file_of_lines_is_read_where_it_is(tmp_path: Path) -> None:
    # The second also where its first line is a list by mistake.
    for name, start in (("a", ""), ("b", "[1, 2]\n"), ("c", '{"cut": "of\n')):
        path = write(tmp_path / name, start + WRITTEN["lines"]())
        with plain_file(path) as plain:
            assert plain == path


def test_a_list_longer_than_what_is_held_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_documents, "CHUNK_BYTES", 7)
    for how in ("list", "list over many lines", "two pages", "objects over many lines"):
        expected = [ROWS[0]] * 2 if how == "two pages" else ROWS
        assert rows_in(write(tmp_path / "f", WRITTEN[how]())) == expected


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        # A bad row costs no other.
        (b'[{"a": 1}, {"b": nope}, 7, {"c": 3}]', [b'{"a": 1}', b'{"b": nope}', b"7", b'{"c": 3}']),
        # Cut off: between rows, within one, within a text, within an escape.
        (b'[{"a": 1},', [b'{"a": 1}', b"["]),
        (b'[{"a": 1}, {"b": [', [b'{"a": 1}', b'{"b": [', b"["]),
        (b'[{"a": 1}, {"b": "x', [b'{"a": 1}', b'{"b": "x', b"["]),
        (b'[{"a": 1}, {"b": "x\\', [b'{"a": 1}', b'{"b": "x\\', b"["]),
        # A bracket that nothing has opened.
        (b'[{"a": 1}, }{"b": 2}]', [b'{"a": 1}', b'}{"b": 2}]', b"["]),
        (b"[]", []),
    ],
)
def test_a_broken_list_gives_the_rows_that_it_has(
    content: bytes, lines: list[bytes], tmp_path: Path
) -> None:
    assert lines_in(write(tmp_path / "f", content)) == lines


def test_a_row_that_never_ends_is_left_out_with_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_documents, "CHUNK_BYTES", 8)
    monkeypatch.setattr(json_documents, "MAX_LINE_BYTES", 64)
    monkeypatch.setattr(json_documents, "_REMAINDER_BYTES", 4)
    monkeypatch.setattr(json_documents, "_PAGE_HEAD_BYTES", 4)
    content = b'[{"a": 1}, {"b": "' + 200 * b"x" + b'"}, {"c": 3}]'
    assert lines_in(write(tmp_path / "f", content)) == [b'{"a": 1}', b'{"b"', b"["]


def test_rows_of_csv_have_the_header_for_keys(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "name", "input"])
        writer.writerow(["1", "", json.dumps({"q": "a,\nb"})])
        writer.writerow(["2", "x" * 200_000, '{"no": JSON}'])
        writer.writerow(["3", "a", "b", "one too many"])
    assert rows_in(path) == [
        {"id": "1", "name": None, "input": {"q": "a,\nb"}},
        {"id": "2", "name": "x" * 200_000, "input": '{"no": JSON}'},
        ["3", "a", "b", "one too many"],
    ]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_cells_may_be_parted_by_semicolons_and_tabs(delimiter: str, tmp_path: Path) -> None:
    path = write(tmp_path / "f", f"id{delimiter}name\r\n1{delimiter}a, b\r\n")
    assert rows_in(path) == [{"id": "1", "name": "a, b"}]


def test_bytes_that_are_no_text_are_left_for_their_row_to_be_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "f", b"id,name\n1,ok\n2,\xff\n")
    with plain_file(path) as plain, plain.open("rb") as file:
        (chunk,) = numbered_lines(file)
    assert (chunk.numbers, [line for line, _ in chunk.rejected]) == ([1], [2])


def test_rows_of_parquet_keep_lists_objects_times_and_numbers(tmp_path: Path) -> None:
    moment = datetime(2026, 3, 2, 10, tzinfo=UTC)
    table = pa.table(
        {
            "id": ["a", None],
            "messages": [[{"role": "user", "content": "hi"}], None],
            "at": pa.array([moment, None], pa.timestamp("ns", "UTC")),
            "events": pa.array(
                [[{"t": 1_772_445_600_000_000_001}], []],
                pa.list_(pa.struct([("t", pa.timestamp("ns"))])),
            ),
            "cost": pa.array([Decimal("0.10"), None], pa.decimal128(10, 2)),
            "score": [float("nan"), 0.5],
            "raw": [b"\xff", b"x"],
            "tags": pa.array([[("k", "v")], []], pa.map_(pa.string(), pa.string())),
        }
    )
    pq.write_table(table, tmp_path / "f")
    assert rows_in(tmp_path / "f") == [
        {
            "id": "a",
            "messages": [{"role": "user", "content": "hi"}],
            "at": "2026-03-02T10:00:00+00:00",
            "events": [{"t": "2026-03-02T10:00:00"}],
            "cost": "0.10",
            "score": None,
            "raw": "\ufffd",
            "tags": {"k": "v"},
        },
        {
            **{"id": None, "messages": None, "at": None, "events": [], "cost": None},
            **{"score": 0.5, "raw": "x", "tags": {}},
        },
    ]


def test_a_damaged_table_is_refused_by_its_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "f.parquet")
    content = (tmp_path / "f.parquet").read_bytes()
    with pytest.raises(BadInput, match=r"f\.parquet is a damaged Parquet file"):
        rows_in(write(tmp_path / "f.parquet", content[:-20]))


def test_a_row_of_a_list_is_named_by_its_place(project: Project, tmp_path: Path) -> None:
    rows = [ROWS[0], {"trace_id": "c", "messages": "none"}, ROWS[1]]
    report = import_file(project.stores, write(tmp_path / "f", json.dumps(rows, indent=2)))
    assert (report.read, report.new) == (3, 2)
    assert [(row.line, row.why) for row in report.rejected] == [
        (2, "has no list of messages under 'messages'")
    ]
    again = import_file(project.stores, write(tmp_path / "g", json.dumps(rows)))
    assert (again.new, again.duplicate) == (0, 2)


def test_a_table_left_in_place_is_read_again_where_the_warehouse_is_lost(
    project: Project, tmp_path: Path
) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "f.parquet")
    assert import_file(project.stores, tmp_path / "f.parquet", copy=False).new == 2
    project.stores.warehouse.path.unlink()
    assert import_file(project.stores, tmp_path / "f.parquet", copy=False).read == 2

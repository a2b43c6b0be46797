"""Files of traces by laws: cut in two, brought in again, or of any bytes at all."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.errors import FlywheelError
from flywheel.store import Project, Stores, open_project
from flywheel.traces.importing import ImportReport, import_file
from tests.conftest import trace
from tests.fuzzed_files import Held

few = settings(max_examples=12, deadline=None, derandomize=True)
BAD = ["{", "[]", "1", '{"trace_id": "x"}', '{"trace_id": "", "messages": []}', "\u2028"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """Stores with a warehouse that stays open; each example has trace ids of its own."""
    made: Project = open_project(tmp_path_factory.mktemp("laws") / "project")
    with Held(made) as opened:
        yield opened.stores
    made.stores.ledger.close()


@st.composite
def files(draw: st.DrawFn) -> list[str]:
    """Lines: traces of few names and texts, at hours of any zone, and lines that are none."""
    lines = []
    for _ in range(draw(st.integers(1, 6))):
        zone = timezone(timedelta(hours=draw(st.integers(-12, 14))))
        at = datetime(2026, 3, 2, draw(st.integers(0, 23)), 30, tzinfo=zone)
        name, text = draw(st.sampled_from("abc")), draw(st.sampled_from(["one", "two"]))
        row = trace(f"{name}", "hello", text, "so", started_at=at.isoformat())
        lines.append(draw(st.sampled_from([json.dumps(row)] * 3 + BAD)))
    return lines


def bring_in(stores: Stores, folder: Path, prefix: str, lines: list[str]) -> ImportReport:
    """Import the lines as they stand, under trace ids of their own."""
    own = [line.replace('"trace_id": "', f'"trace_id": "{prefix}', 1) for line in lines]
    path = folder / "file.jsonl"
    path.write_text("".join(line + "\n" for line in own), encoding="utf-8")
    return import_file(stores, path, format="flywheel")


def held(stores: Stores, prefix: str) -> list[tuple[object, ...]]:
    """Each trace of the prefix as it is now: its name, its UTC day, and what was answered."""
    with stores.warehouse.open() as connection:
        return connection.raw.execute(
            "select substr(t.trace_id, length($prefix) + 1), t.day, m.content from traces as t "
            "inner join messages as m on m.trace_id = t.trace_id and m.day = t.day "
            "and m.content_hash = t.content_hash and m.position = 1 "
            "where t.is_current and starts_with(t.trace_id, $prefix) order by all",
            {"prefix": prefix},
        ).fetchall()


def utc_days(lines: list[str]) -> set[tuple[object, object]]:
    rows = [json.loads(line) for line in lines if line not in BAD]
    return {
        (row["trace_id"], datetime.fromisoformat(row["started_at"]).astimezone(UTC).date())
        for row in rows
    }


@few
@given(first=files(), second=files())
def test_a_file_cut_in_two_is_the_same_traces_and_again_adds_nothing(
    first: list[str], second: list[str], stores: Stores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole, halves = f"{folder.name}-whole-", f"{folder.name}-halves-"
    report = bring_in(stores, folder, whole, first + second)
    parts = [bring_in(stores, folder, halves, lines) for lines in (first, second)]
    for told in (report, *parts):
        assert told.read == told.new + told.duplicate + told.changed + len(told.rejected)
    now = held(stores, whole)
    assert held(stores, halves) == now
    assert {(name, day) for name, day, _ in now} <= utc_days(first + second)
    assert report.new == sum(part.new for part in parts) == len(now)
    assert len(report.rejected) == sum(len(part.rejected) for part in parts)
    again = bring_in(stores, folder, whole, first + second)
    assert (again.new, again.changed, again.rejected) == (0, 0, report.rejected)
    assert held(stores, whole) == now


@few
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=80).map(
    lambda text: json.dumps(trace("a", text, text)).encode() + b"\n" + text.encode(
        "utf-8", "surrogatepass"))))  # fmt: skip
def test_any_bytes_are_counted_or_refused_in_a_sentence(
    content: bytes, stores: Stores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path: Path = tmp_path_factory.mktemp("bytes") / "file.jsonl"
    path.write_bytes(content)
    try:
        told = import_file(stores, path)
    except FlywheelError as error:
        refused = str(error)
    else:
        assert told.read == told.new + told.duplicate + told.changed + len(told.rejected)
        return
    assert str(path) in refused

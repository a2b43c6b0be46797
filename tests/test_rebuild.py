"""A warehouse made again: the old one or the new one stands, whole, whoever is killed meanwhile."""

import os
import signal
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from flywheel import loop
from flywheel.errors import WarehouseBusy
from flywheel.loop import rebuild_warehouse
from flywheel.review import decide
from flywheel.store import Project, open_project, warehouse
from flywheel.store.snapshots import write_partition
from flywheel.store.warehouse import Warehouse
from flywheel.traces.importing import import_file
from tests.conftest import trace, write_lines
from tests.forked import Forked
from tests.judged import said

DAY = date(2026, 3, 2)
TABLES = ("traces", "messages", "samples", "labels")
# No import, snapshot or decision has it, so that it tells the old one from the new one.
ONLY_IN_THE_OLD = "stray"


@pytest.fixture
def filled(project: Project, tmp_path: Path) -> Project:
    """Two imported files, a partition and a decision, and a row that nothing else knows of."""
    for name in ("t1", "t2"):
        row = trace(name, "hi", "hello", "no", "sorry")
        import_file(project.stores, write_lines(tmp_path / f"{name}.jsonl", [row]))
    rows = pa.Table.from_pylist([sampled("t1"), sampled("t2")])
    write_partition(project.stores, {"samples": ({"day": DAY}, rows)})
    decide(project.stores.ledger, said("t1", True))
    loop.derive_labels(project.stores)
    stray = pa.Table.from_pylist([sampled(ONLY_IN_THE_OLD)])
    with project.stores.warehouse.open() as connection, connection.given(stray=stray):
        connection.raw.execute("insert into samples by name select * from stray")
    return project


def sampled(trace_id: str) -> dict[str, object]:
    """A row of `samples`."""
    row = {"day": DAY, "trace_id": trace_id, "content_hash": "1", "stratum": "all"}
    return row | {"inclusion_probability": 1.0}


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """What stands in a warehouse's file."""
    with duckdb.connect(str(path)) as raw:
        return {
            table: raw.execute(f"select * from {table} order by all").fetchall() for table in TABLES
        }


def without_stray(
    rows: dict[str, list[tuple[object, ...]]],
) -> dict[str, list[tuple[object, ...]]]:
    """What a whole new warehouse holds."""
    return {t: [row for row in found if ONLY_IN_THE_OLD not in row] for t, found in rows.items()}


def dying(call: Callable[..., Any], at: str, *, only: Path | None = None) -> Callable[..., Any]:
    """The call, and this process killed before or after it; of files, where it makes `only`."""

    def do(*arguments: Any, **named: Any) -> Any:
        is_it = only is None or only in arguments
        if is_it and at == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = call(*arguments, **named)
        if is_it:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return do


def rebuild_and_die(folder: Path, step: str, at: str) -> None:
    """In a process of its own: a rebuild that is killed at this step."""
    project = open_project(folder)
    path = project.stores.warehouse.path
    if step in ("link", "replace"):
        only = path if step == "replace" else project.stores.warehouse.set_aside_path
        setattr(warehouse.os, step, dying(getattr(os, step), at, only=only))
    else:
        setattr(loop, step, dying(getattr(loop, step), at))
    rebuild_warehouse(project)


@pytest.mark.parametrize(
    ("step", "at", "is_new"),
    [
        ("load_imports", "before", False),
        ("load_imports", "after", False),
        ("restore_all", "after", False),
        ("derive_labels", "after", False),
        ("link", "before", False),
        ("link", "after", False),
        ("replace", "before", False),
        ("replace", "after", True),
        ("reapply", "before", True),
    ],
)
def test_a_rebuild_that_is_killed_leaves_the_old_or_the_new(
    filled: Project, tmp_path: Path, step: str, at: str, is_new: bool
) -> None:
    path = filled.stores.warehouse.path
    old = rows_of(path)
    assert old != without_stray(old)
    filled.stores.ledger.close()
    killed = Forked(rebuild_and_die, (filled.folder, step, at), tmp_path / "log")
    assert killed.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert rows_of(path) == (without_stray(old) if is_new else old)
    rebuild_warehouse(filled)
    assert rows_of(path) == without_stray(old)
    assert [found.name for found in path.parent.glob("*rebuilding*")] == []


def write_and_die(folder: Path) -> None:
    """In a process of its own: a row that is committed, and stands in the log alone."""
    with open_project(folder).stores.warehouse.open() as connection:
        connection.raw.execute("update samples set stratum = 'changed' where trace_id = 't1'")
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_old_one_is_kept_with_what_stood_in_its_log(filled: Project, tmp_path: Path) -> None:
    filled.stores.ledger.close()
    killed = Forked(write_and_die, (filled.folder,), tmp_path / "log")
    assert killed.wait() == -signal.SIGKILL
    path, aside = filled.stores.warehouse.path, filled.stores.warehouse.set_aside_path
    assert path.with_name(f"{path.name}.wal").exists()
    rebuild_warehouse(filled)
    assert "changed" in str(rows_of(aside)["samples"])
    assert "changed" not in str(rows_of(path)["samples"])


def test_a_rebuild_that_fails_leaves_the_old_one(
    filled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> int:
        raise OSError(28, "No space left on device")

    path = filled.stores.warehouse.path
    old = rows_of(path)
    monkeypatch.setattr(loop, "restore_all", full)
    with pytest.raises(OSError, match="No space left"):
        rebuild_warehouse(filled)
    assert rows_of(path) == old
    assert [found.name for found in path.parent.glob("*rebuilding*")] == []


def test_nobody_writes_to_the_old_one_while_the_new_one_is_made(filled: Project) -> None:
    lasting = filled.stores.warehouse
    hasty = Warehouse(lasting.path, lock_timeout_s=0.05)
    with lasting.rebuilt(), pytest.raises(WarehouseBusy), hasty.open():
        pass


def test_a_file_system_without_links_keeps_the_old_one_too(
    filled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(warehouse.os, "link", refused)
    old = rows_of(filled.stores.warehouse.path)
    rebuild_warehouse(filled)
    assert rows_of(filled.stores.warehouse.set_aside_path) == old


def test_a_log_without_its_warehouse_is_not_read_into_the_new_one(filled: Project) -> None:
    path = filled.stores.warehouse.path
    old = rows_of(path)
    path.unlink()
    path.with_name(path.name + ".wal").write_bytes(b"of the one that was moved away")
    rebuild_warehouse(filled)
    assert rows_of(path) == without_stray(old)

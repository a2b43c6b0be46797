"""The first release's own data, as it wrote it: opened by the code of today, without a row lost.

`fixtures/first_release` was made by that release: `init`, `traces import` of twelve conversations,
`review import` of as many decisions, `loop --all`; its ledger as SQL, and its warehouse's file,
artifacts, settings and metrics packed.
"""

import io
import sqlite3
import tarfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa
import zstandard

from flywheel.doctor import examine
from flywheel.loop import rebuild_warehouse, run_loop
from flywheel.store import Project, open_project

FIXTURE = Path(__file__).resolve().parent / "fixtures" / "first_release"
Rows = Mapping[str, list[dict[str, object]]]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A project's folder, as the first release left it."""
    folder, unpack = tmp_path / "project", zstandard.ZstdDecompressor().decompress
    data = folder / ".flywheel"
    data.mkdir(parents=True)
    packed = io.BytesIO(unpack((FIXTURE / "files.tar.zst").read_bytes()))
    with tarfile.open(fileobj=packed) as files:
        files.extractall(folder, filter="data")
    (folder / "artifacts").rename(data / "artifacts")
    warehouse = unpack((FIXTURE / "warehouse.duckdb.zst").read_bytes())
    (data / "warehouse.duckdb").write_bytes(warehouse)
    with closing(sqlite3.connect(data / "ledger.sqlite")) as ledger:
        ledger.executescript((FIXTURE / "ledger.sql").read_text(encoding="utf-8"))
    return folder


def ledger_rows(folder: Path) -> Rows:
    """Every row of the ledger's file, read by the driver alone."""
    with closing(sqlite3.connect(folder / ".flywheel" / "ledger.sqlite")) as raw:
        raw.row_factory = sqlite3.Row
        names = raw.execute("select name from sqlite_master where type = 'table'").fetchall()
        return {
            name: [dict(row) for row in raw.execute(f"select * from {name}")] for (name,) in names
        }


def warehouse_rows(folder: Path) -> Rows:
    """Every row of the warehouse's file, read by DuckDB alone."""
    with duckdb.connect(str(folder / ".flywheel" / "warehouse.duckdb"), read_only=True) as raw:
        names = raw.execute("select table_name from duckdb_tables() where not internal").fetchall()
        return {name: raw.execute(f"from {name}").to_arrow_table().to_pylist() for (name,) in names}


def lost(before: Rows, after: Rows, leave_out: frozenset[str] = frozenset()) -> dict[str, int]:
    """Of each table, the rows of before that no row of after says the same as."""
    missing = {}
    for table, rows in before.items():
        if table in leave_out:
            continue
        # Columns that came since are not compared, nor those that have gone to another table.
        columns = set(rows[0]) & set(after[table][0]) if rows and after[table] else set()
        kept = [{name: row[name] for name in columns} for row in after[table]]
        n = sum({name: row[name] for name in columns} not in kept for row in rows)
        if n or len(after[table]) < len(rows):
            missing[table] = max(n, len(rows) - len(after[table]))
    return missing


def test_the_first_releases_data_is_opened_and_run_without_the_loss_of_a_row(old: Path) -> None:
    in_ledger, in_warehouse = ledger_rows(old), warehouse_rows(old)
    assert {name: len(in_ledger[name]) for name in ("decisions", "queue_items", "snapshots")} == {
        "decisions": 12,
        "queue_items": 12,
        "snapshots": 26,
    }
    assert len(in_warehouse["scores"]) == 96
    findings = examine(old)
    assert not [finding for finding in findings if finding.state == "problem"]
    project = open_project(old)
    with project.stores.ledger.read() as connection:
        assert connection.scalar(sa.text("select version_num from alembic_version")) != "0001"
    with project.stores.warehouse.open():
        pass
    project.stores.ledger.close()
    assert lost(in_ledger, ledger_rows(old), frozenset({"alembic_version"})) == {}
    assert lost(in_warehouse, warehouse_rows(old)) == {}
    run_loop(project)
    project.stores.ledger.close()
    # Snapshots follow what is remade; what people said and paid for stays to the letter.
    remade = frozenset({"alembic_version", "snapshots", "queue_items"})
    assert lost(in_ledger, ledger_rows(old), remade) == {}
    kept = frozenset({"traces", "messages", "decisions", "labels", "corrections", "loaded_imports"})
    assert lost(in_warehouse, warehouse_rows(old), frozenset(in_warehouse) - kept) == {}
    _rebuilt_is_the_same(project)


def _rebuilt_is_the_same(project: Project) -> None:
    before = warehouse_rows(project.folder)
    rebuild_warehouse(project)
    after = warehouse_rows(project.folder)
    project.stores.ledger.close()
    for table in ("traces", "messages", "decisions", "labels", "corrections"):
        assert len(after[table]) == len(before[table]) > 0

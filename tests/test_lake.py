"""The warehouse on DuckLake: the same statements and rows as of the file, and many writers."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa

from flywheel.doctor import examine
from flywheel.errors import BadSetting, Refused, WarehouseBusy
from flywheel.forgetting import forget_user
from flywheel.loop import rebuild_warehouse, run_loop
from flywheel.store import Project, open_project
from flywheel.store.lake import ATTEMPTS, Lake
from flywheel.store.queries import schema_files
from flywheel.store.warehouse import Connection
from flywheel.traces.importing import import_file
from tests.conftest import trace, write_lines
from tests.lakes import lake_url, set_lake
from tests.test_loop import sample_lines, without_times
from tests.test_sql import NAMES, given_relations, header_of, text_of
from tests.test_stores import crowd, kill_while

DAY = date(2026, 3, 2)
SECRET = "zzz the parcel of Ottilie Quandt"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """One lake for tests that write under days, or names, of their own."""
    return Lake(lake_url(), str(tmp_path_factory.mktemp("lake") / "parquet"), lock_timeout_s=60)


def project_on_lake(folder: Path) -> Project:
    set_lake(folder, lake_url())
    return open_project(folder)


def written(day: date, n: int, name: str = "mine") -> pa.Table:
    """`n` rows of `samples`."""
    row = {"day": day, "content_hash": "h", "stratum": name, "inclusion_probability": 1.0}
    return pa.Table.from_pylist([row | {"trace_id": f"{name}-{i}"} for i in range(n)])


def replace_day(lake: Lake, day: date, rows: pa.Table) -> None:
    """What `write_partition` does to a day, without its snapshot."""

    def work(connection: Connection) -> None:
        connection.raw.execute("delete from samples where day = ?", [day])
        with connection.given(new_rows=rows):
            connection.raw.execute("insert into samples by name select * from new_rows")

    lake.write(work, {str(day)})


def count_of(lake: Lake, day: date) -> int:
    with lake.read() as connection:
        row = connection.raw.execute("select count(*) from samples where day = ?", [day]).fetchone()
    assert row is not None
    return int(row[0])


def test_every_statement_fits_the_schema_on_a_lake(lake: Lake) -> None:
    with lake.open() as connection:
        applied = connection.raw.execute("select max(version) from schema_version").fetchone()
    assert applied == (len(schema_files()),)
    refused = {}
    for name in NAMES:
        with lake._connection() as raw:
            for relation in given_relations(header_of(text_of(name))):
                raw.execute(f"create temp table {relation}")
            try:
                raw.execute(f"prepare it as {text_of(name)}")
            except duckdb.Error as error:
                refused[name] = str(error)
    assert len(NAMES) > 100
    assert refused == {}


def test_the_loop_gives_the_same_rows_on_a_lake(project: Project, tmp_path: Path) -> None:
    other = project_on_lake(tmp_path / "other")
    source = write_lines(tmp_path / "traces.jsonl", sample_lines("traces", 16))
    for one in (project, other):
        assert import_file(one.stores, source).new == 16
        run_loop(one)
    expected = without_times(project)
    assert expected["scores"]
    assert without_times(other) == expected
    published = tmp_path / "published.duckdb"
    other.stores.warehouse.publish(published)
    with duckdb.connect(str(published), read_only=True) as copy:
        rows = copy.execute("select trace_id from current_scores").fetchall()
    with project.stores.warehouse.read() as connection:
        told = connection.raw.execute("select trace_id from current_scores").fetchall()
    assert sorted(rows) == sorted(told)
    rebuild_warehouse(other)
    assert without_times(other) == expected


def write_days(barrier: Barrier, number: int, url: str, parquet: str) -> None:
    """Five days of one's own, each written twice, and one day that all four write."""
    lake = Lake(url, parquet)
    barrier.wait(300)
    for i in range(5):
        day = DAY + timedelta(days=10 * number + i)
        replace_day(lake, day, written(day, 99))
        replace_day(lake, day, written(day, 20 + i))
        replace_day(lake, DAY - timedelta(days=1), written(DAY - timedelta(days=1), 7))


def test_four_processes_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    lake = Lake(lake_url(), str(tmp_path / "parquet"))
    with lake.open():
        pass
    crowd(4, write_days, lake.url, lake.parquet)
    with lake.read() as connection:
        rows = connection.raw.execute(
            "select day, count(*), count(distinct trace_id) from samples group by day order by day"
        ).fetchall()
    own = [(DAY + timedelta(days=10 * p + i), 20 + i, 20 + i) for p in range(4) for i in range(5)]
    assert rows == [(DAY - timedelta(days=1), 7, 7), *own]
    before = len(list(lake.path.rglob("*.parquet")))
    lake.compact()
    with lake.open() as connection:
        connection.raw.execute("call ducklake_expire_snapshots('warehouse', older_than => now())")
        connection.raw.execute("call ducklake_cleanup_old_files('warehouse', cleanup_all => true)")
    assert len(list(lake.path.rglob("*.parquet"))) < before / 4
    assert count_of(lake, DAY) == 20


def hold_half(ready: Event, url: str, parquet: str) -> None:
    lake = Lake(url, parquet)

    def work(connection: Connection) -> None:
        connection.raw.execute("delete from samples where day = ?", [DAY])
        with connection.given(new_rows=written(DAY, 500)):
            connection.raw.execute("insert into samples by name select * from new_rows")
        ready.set()
        time.sleep(600)

    lake.write(work, {str(DAY)})


def test_a_killed_writer_leaves_what_was_there_and_its_lock(tmp_path: Path) -> None:
    lake = Lake(lake_url(), str(tmp_path / "parquet"), lock_timeout_s=60)
    replace_day(lake, DAY, written(DAY, 30))
    kill_while(hold_half, lake.url, lake.parquet)
    assert count_of(lake, DAY) == 30
    replace_day(lake, DAY, written(DAY, 31))
    assert count_of(lake, DAY) == 31


def test_who_loses_to_another_is_run_again_from_the_start(lake: Lake) -> None:
    """Two days lie in one file, and both writers delete from it."""
    days = [DAY + timedelta(days=200), DAY + timedelta(days=201)]
    both = pa.concat_tables([written(days[0], 50), written(days[1], 50)])
    with lake.open() as connection, connection.given(new_rows=both):
        connection.raw.execute("insert into samples by name select * from new_rows")
    runs = 0

    def work(connection: Connection) -> None:
        nonlocal runs
        runs += 1
        connection.raw.execute("delete from samples where day = ?", [days[0]])
        if runs == 1:
            replace_day(lake, days[1], written(days[1], 3))

    lake.write(work, {str(days[0])})
    assert runs == 2
    assert [count_of(lake, day) for day in days] == [0, 3]


def test_who_always_loses_gives_up(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    runs = 0

    def work(connection: Connection) -> None:
        nonlocal runs
        runs += 1
        raise duckdb.TransactionException("a double of a conflict")

    with pytest.raises(WarehouseBusy):
        lake.write(work, {"x"})
    assert runs == ATTEMPTS


def test_a_reader_sees_one_moment_blocks_no_writer_and_writes_nothing(lake: Lake) -> None:
    day = DAY + timedelta(days=300)
    replace_day(lake, day, written(day, 5))
    query = "select count(*) from samples where day = ?"
    with lake.read() as connection:
        assert connection.raw.execute(query, [day]).fetchone() == (5,)
        replace_day(lake, day, written(day, 6))
        assert connection.raw.execute(query, [day]).fetchone() == (5,)
    with lake.read() as connection:
        assert connection.raw.execute(query, [day]).fetchone() == (6,)
        with pytest.raises(duckdb.TransactionException, match="read-only"):
            connection.raw.execute("delete from samples")


def test_who_opens_a_lake_has_it_alone(lake: Lake) -> None:
    impatient = lake.patient(0.1)
    with lake.open():
        with pytest.raises(WarehouseBusy, match="in use"), impatient.open():
            pass
        with pytest.raises(WarehouseBusy):
            replace_day(impatient, DAY, written(DAY, 1))
    with impatient.open():
        pass


def texts_of(lake: Lake, database: str) -> Iterator[str]:
    """Every value of every Parquet file, and of every table of the catalog."""
    for file in lake.path.rglob("*"):
        if file.is_file():
            yield str(file.read_bytes())
            yield str(duckdb.read_parquet(str(file)).fetchall())
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        catalog = sa.MetaData()
        catalog.reflect(connection, schema="flywheel_warehouse")
        for table in catalog.sorted_tables:
            yield str(connection.execute(sa.select(sa.text("*")).select_from(table)).all())
    engine.dispose()


def test_who_is_forgotten_is_in_no_file_of_the_lake(tmp_path: Path) -> None:
    project = project_on_lake(tmp_path / "project")
    lake = project.stores.warehouse
    assert isinstance(lake, Lake)
    hers = [trace(f"hers-{i}", SECRET, "Here.", user_id="otti") for i in range(3)]
    others = [trace(f"other-{i}", f"Where is {i}?", "Here.", user_id="b") for i in range(20)]
    import_file(project.stores, write_lines(tmp_path / "all.jsonl", [*hers, *others]))
    # So few rows that they stand in the catalog, not in a file.
    import_file(
        project.stores,
        write_lines(tmp_path / "few.jsonl", [trace("few", SECRET, "Yes.", user_id="otti")]),
    )
    rebuild_warehouse(project)
    database = lake.dsn.replace("postgresql:", "postgresql+psycopg2:")
    held = [text for text in texts_of(lake, database) if "Quandt" in text]
    assert len(held) > 2
    forget_user(project, "otti")
    assert [text for text in texts_of(lake, database) if "Quandt" in text] == []
    with lake.read() as connection:
        left = connection.raw.execute("select count(*), min(user_id) from traces").fetchone()
    assert left == (20, "b")


def test_the_doctor_looks_at_a_lake(tmp_path: Path) -> None:
    project = project_on_lake(tmp_path / "project")
    with project.stores.warehouse.open():
        pass
    found = [one for one in examine(tmp_path / "project") if one.name == "warehouse"]
    assert [one.state for one in found] == ["ok"]
    assert "with its catalog on" in found[0].sentence


def test_a_lake_is_not_copied_as_a_file(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="rebuilt"), lake.copied(tmp_path / "copy"):
        pass


def test_a_release_without_its_extension_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb, "__version__", "1.2.3")
    lake = Lake("ducklake:postgres:host=/nowhere", str(tmp_path / "parquet"))
    with pytest.raises(BadSetting, match=r"for DuckDB 1\.2\.3.*flywheel-loop\[ducklake\]"):
        lake._start()


def test_another_kind_of_warehouse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="ducklake:postgres:"):
        Lake("ducklake:sqlite:catalog.sqlite", str(tmp_path))


def test_no_password_is_shown(tmp_path: Path) -> None:
    dsn = "host=db.example dbname=fly user=fly password=hunter2"
    place = Lake(f"ducklake:postgres:{dsn}", str(tmp_path)).place
    assert "db.example/fly" in place
    assert "hunter2" not in place


def test_nothing_of_a_lake_is_imported_unless_it_is_configured(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from flywheel.store import open_project; "
        f"open_project(Path({str(tmp_path)!r})); "
        "assert 'flywheel.store' in sys.modules and 'flywheel.store.lake' not in sys.modules"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLYWHEEL_WAREHOUSE")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)

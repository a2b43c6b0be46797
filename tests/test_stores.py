"""The three stores: what holds when processes crowd in or die half-way and files are damaged."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa
import zstandard
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from flywheel.errors import BadArtifact, NotFound, WarehouseBusy
from flywheel.store import Project, Stores, tables
from flywheel.store.artifacts import Artifacts, sha256_of
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.snapshots import restore_all, write_partition
from flywheel.store.warehouse import Warehouse

# Forked from a process that has imported this module and started no thread.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


class Stop(Exception):
    """Something went wrong in a block."""


def crowd(n: int, visit: Callable[..., None], *given: object) -> None:
    """Run `visit(barrier, number, *given)` in n processes that start at once; all must end well."""
    barrier = PROCESSES.Barrier(n)
    visitors = [PROCESSES.Process(target=visit, args=(barrier, i, *given)) for i in range(n)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(300)
    assert [visitor.exitcode for visitor in visitors] == [0] * n


def kill_while(hold: Callable[..., None], *given: object) -> None:
    """Kill the process of `hold(ready, *given)` once it has set `ready`."""
    ready = PROCESSES.Event()
    holder = PROCESSES.Process(target=hold, args=(ready, *given))
    holder.start()
    assert ready.wait(300)
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(30)


# Ledger


def count_up(barrier: Barrier, number: int, url: str, times: int) -> None:
    """Read the last count and write the next, `times` times; a lost update would repeat one."""
    ledger = Ledger(url)
    barrier.wait(30)
    for _ in range(times):
        with ledger.begin() as connection:
            last = connection.scalar(sa.select(sa.func.count()).select_from(tables.audit_log))
            record_action(connection, f"p{number}", "count", str(last))
    ledger.close()


def test_eight_processes_that_start_at_once_lose_no_write(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    crowd(8, count_up, url, 10)
    ledger = Ledger(url)
    with ledger.begin() as connection:
        counts = connection.scalars(sa.select(tables.audit_log.c.subject)).all()
    ledger.close()
    assert sorted(map(int, counts)) == list(range(80))


def test_a_transaction_is_a_writer_from_its_first_moment(project: Project) -> None:
    ledger = project.stores.ledger
    with ledger.begin():
        other = sqlite3.connect(sa.make_url(ledger.url).database or "", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("begin immediate")
    other.execute("begin immediate")
    other.close()


def test_a_commit_is_on_the_disk(project: Project) -> None:
    with project.stores.ledger.begin() as connection:
        assert connection.exec_driver_sql("pragma journal_mode").scalar() == "wal"
        # 2 is FULL: synced at every commit.
        assert connection.exec_driver_sql("pragma synchronous").scalar() == 2


def test_a_failed_transaction_leaves_nothing(project: Project) -> None:
    ledger = project.stores.ledger
    with contextlib.suppress(Stop), ledger.begin() as connection:
        record_action(connection, "ada", "promote", "v1")
        raise Stop
    with ledger.begin() as connection:
        assert connection.execute(sa.select(tables.audit_log)).all() == []


def test_migrations_make_the_tables_that_the_code_speaks_of(project: Project) -> None:
    with project.stores.ledger.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_times_keep_their_zone_or_are_utc(project: Project) -> None:
    with project.stores.ledger.begin() as connection:
        before = now()
        record_action(connection, "ada", "promote", "v1")
        kept = connection.execute(sa.select(tables.audit_log.c.happened_at)).scalar_one()
    assert before <= kept.replace(tzinfo=UTC) <= datetime.now(UTC)


# Warehouse


class Watched(Warehouse):
    """A warehouse that notes when it was held, with its lock or with the lock taken out."""

    is_locked = True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with super()._alone() if self.is_locked else contextlib.nullcontext():
            entered = time.monotonic()
            try:
                yield
            finally:
                with (self.path.parent / f"visits-{os.getpid()}").open("a") as notes:
                    notes.write(f"{entered} {time.monotonic()}\n")


class Unlocked(Watched):
    """The same without its lock."""

    is_locked = False


def visit(barrier: Barrier, number: int, made: type[Watched], path: Path, times: int) -> None:
    """Add a row `times` times, each time in a warehouse that is opened and closed again."""
    barrier.wait(30)
    for turn in range(times):
        try:
            with made(path).open() as connection:
                connection.raw.execute("insert into visitors values (?, ?)", [number, turn])
        except duckdb.IOException:
            (path.parent / f"refused-{number}-{turn}").touch()


def crowded(folder: Path, made: type[Watched]) -> tuple[int, int, int]:
    """Three processes open the warehouse four times each: overlaps, refusals by DuckDB, rows."""
    path = folder / "warehouse.duckdb"
    with Warehouse(path).open() as connection:
        connection.raw.execute("create table visitors (process integer, turn integer)")
    crowd(3, visit, made, path, 4)
    held = sorted(
        tuple(map(float, line.split()))
        for notes in folder.glob("visits-*")
        for line in notes.read_text().splitlines()
    )
    overlaps = sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(held))
    with Warehouse(path).open() as connection:
        row = connection.raw.execute("select count(*) from visitors").fetchone()
    assert row is not None
    return overlaps, len(list(folder.glob("refused-*"))), row[0]


def test_processes_hold_the_warehouse_one_after_another(tmp_path: Path) -> None:
    assert crowded(tmp_path, Watched) == (0, 0, 12)


def test_without_the_lock_processes_collide(tmp_path: Path) -> None:
    """The test above can fail: the same crowd without the lock overlaps, and some are refused."""
    overlaps, refused, rows = crowded(tmp_path, Unlocked)
    assert overlaps > 0
    assert refused > 0
    assert rows < 12


def test_a_warehouse_that_stays_in_use_is_busy(project: Project) -> None:
    given = project.stores.warehouse
    with given.open():
        with (
            pytest.raises(WarehouseBusy, match="in use") as caught,
            Warehouse(given.path, 0.1).open(),
        ):
            pass
        assert caught.value.waited_s >= 0.1
    with Warehouse(given.path, 0.1).open():
        pass


def hold_with_a_row(ready: "multiprocessing.synchronize.Event", path: Path) -> None:
    with Warehouse(path).open() as connection:
        connection.raw.execute("create table finished (x integer)")
        with connection.transaction():
            connection.raw.execute("create table unfinished (x integer)")
            ready.set()
            time.sleep(60)


def test_a_process_that_is_killed_lets_go_and_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    kill_while(hold_with_a_row, path)
    with Warehouse(path, lock_timeout_s=1).open() as connection:
        names = {row[0] for row in connection.raw.execute("show tables").fetchall()}
    assert "finished" in names
    assert "unfinished" not in names


def test_given_relations_are_gone_after_the_block(project: Project) -> None:
    with project.stores.warehouse.open() as connection:
        with connection.given(wanted=pa.table({"x": [1]})):
            assert connection.raw.execute("select x from wanted").fetchall() == [(1,)]
        with pytest.raises(duckdb.CatalogException):
            connection.raw.execute("select x from wanted")


# Artifacts


def test_a_compressed_copy_comes_back_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "traces.jsonl"
    source.write_text("a line\n" * 1000)
    artifacts = Artifacts(tmp_path / "artifacts")
    name = artifacts.put_compressed("imports", source)
    assert name == f"{sha256_of(source)}.zst"
    assert artifacts.path("imports", name).stat().st_size < source.stat().st_size / 10
    with artifacts.plain("imports", name) as path:
        assert path.read_bytes() == source.read_bytes()


def test_a_file_is_named_by_its_content(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    names = []
    for _ in range(2):
        with artifacts.new_file("snapshots", ".parquet") as new:
            new.path.write_bytes(b"rows")
        names.append(new.name)
    assert names == [f"{sha256_of(artifacts.path('snapshots', names[0]))}.parquet"] * 2


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    with contextlib.suppress(Stop), artifacts.new_file("snapshots", ".parquet") as new:
        new.path.write_bytes(b"ro")
        raise Stop
    with contextlib.suppress(Stop), artifacts.new_folder("adapters", "v1") as folder:
        (folder / "weights").write_bytes(b"we")
        raise Stop
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def write_half(ready: "multiprocessing.synchronize.Event", root: Path) -> None:
    artifacts = Artifacts(root)
    with artifacts.new_folder("adapters", "v1") as folder, artifacts.new_file("index", "") as new:
        (folder / "weights").write_bytes(b"we")
        new.path.write_bytes(b"ve")
        ready.set()
        time.sleep(60)


def test_a_torn_write_is_never_seen(tmp_path: Path) -> None:
    kill_while(write_half, tmp_path)
    seen = [path.name for kind in tmp_path.iterdir() for path in kind.iterdir()]
    assert seen
    assert all(name.startswith(".new-") for name in seen)
    with pytest.raises(NotFound):
        Artifacts(tmp_path).path("adapters", "v1")


def test_a_folder_that_exists_is_kept(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    for content in ("first", "second"):
        with artifacts.new_folder("adapters", "v1") as folder:
            (folder / "weights").write_text(content)
    assert (artifacts.path("adapters", "v1") / "weights").read_text() == "first"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda packed: packed[: len(packed) // 2],
    "zeroed": lambda packed: bytes(len(packed)),
    "one bit": lambda packed: packed[:-9] + bytes([packed[-9] ^ 1]) + packed[-8:],
    "another's": lambda packed: zstandard.compress(b"another"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("content", [b"a line\n" * 999, os.urandom(9_999)], ids=["text", "noise"])
def test_damaged_content_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], content: bytes
) -> None:
    source = tmp_path / "traces.jsonl"
    source.write_bytes(content)
    artifacts = Artifacts(tmp_path / "artifacts")
    name = artifacts.put_compressed("imports", source)
    path = artifacts.path("imports", name)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadArtifact, match="damaged"), artifacts.plain("imports", name):
        pass


# Partitions


MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)


def write_sample(stores: Stores, day: date, *trace_ids: str) -> None:
    rows = pa.table(
        {
            "day": pa.array([day] * len(trace_ids), pa.date32()),
            "trace_id": pa.array(trace_ids, pa.string()),
            "content_hash": pa.array(["h"] * len(trace_ids), pa.string()),
            "stratum": pa.array(["shop"] * len(trace_ids), pa.string()),
            "inclusion_probability": pa.array([0.5] * len(trace_ids), pa.float64()),
        }
    )
    write_partition(stores, {"samples": ({"day": day}, rows)})


def sampled(stores: Stores) -> list[tuple[object, ...]]:
    with stores.warehouse.open() as connection:
        return connection.raw.execute("select day, trace_id from samples order by all").fetchall()


def test_a_partition_replaces_its_own_rows_and_no_other(project: Project) -> None:
    stores = project.stores
    write_sample(stores, MONDAY, "a", "b")
    write_sample(stores, TUESDAY, "c")
    write_sample(stores, MONDAY, "b")
    assert sampled(stores) == [(MONDAY, "b"), (TUESDAY, "c")]


def test_partitions_of_several_tables_are_written_together_or_not_at_all(project: Project) -> None:
    stores = project.stores
    write_sample(stores, MONDAY, "a")
    new = pa.table({"day": pa.array([MONDAY], pa.date32()), "no_such_column": ["x"]})
    empty = pa.table({"day": pa.array([], pa.date32())})
    with pytest.raises(duckdb.Error):
        write_partition(
            stores, {"samples": ({"day": MONDAY}, empty), "scores": ({"day": MONDAY}, new)}
        )
    assert sampled(stores) == [(MONDAY, "a")]


def test_a_lost_warehouse_is_written_again_from_its_snapshots(project: Project) -> None:
    stores = project.stores
    write_sample(stores, MONDAY, "a", "b")
    write_sample(stores, TUESDAY, "c")
    write_sample(stores, MONDAY, "b")
    before = sampled(stores)
    stores.warehouse.path.unlink()
    assert sampled(stores) == []
    assert restore_all(stores) == 2
    assert sampled(stores) == before

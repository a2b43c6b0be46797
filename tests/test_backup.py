"""Backup and restore: whole or absent, taken under load; who was forgotten does not come back."""

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel.backup import back_up, read_manifest, restore_project, verify
from flywheel.backup.ledger_file import named_artifacts, read_ledger_file, write_ledger_file
from flywheel.backup.manifest import ITS_HASH, LEDGER, MANIFEST, WAREHOUSE
from flywheel.cli import main
from flywheel.doctor import examine
from flywheel.errors import BadArtifact, BadInput, FlywheelError, Refused, TryAgain
from flywheel.forgetting import forget_user
from flywheel.loop import rebuild_warehouse, run_loop
from flywheel.review import decide
from flywheel.store import Project, moving, open_project
from flywheel.store.ledger import Ledger
from flywheel.store.publications import publish, read_published
from flywheel.store.tables import inbox, metadata
from flywheel.store.tombstones import KEY, TOMBSTONES
from flywheel.traces.importing import import_file
from flywheel.traces.inbox import Inbox
from tests.busy_project import busy
from tests.conftest import trace, write_lines
from tests.judged import said
from tests.otlp import body, trace_of
from tests.postgres import new_database

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 120.0


@pytest.fixture
def filled(project: Project, tmp_path: Path) -> Project:
    """Four conversations of two users, a decision, something published, settings and a metric."""
    project.folder.mkdir()
    (project.folder / "flywheel.toml").write_text('[project]\nname = "kept"\n')
    (project.folder / "metrics").mkdir()
    (project.folder / "metrics" / "own.sql").write_text("-- name: own\nselect 1\n")
    rows = [trace(f"t{n}", "hi", "hello", "no, Friday", user_id=f"u{n % 2}") for n in range(4)]
    import_file(project.stores, write_lines(tmp_path / "in.jsonl", rows))
    decide(project.stores.ledger, said("t0", True))
    publish(project.stores, "quality", b"{}")
    return project


def rows_in(ledger: Ledger) -> dict[str, list[tuple[object, ...]]]:
    """Every row of a ledger, by its table."""
    with ledger.read() as connection:
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            ]
            for table in metadata.sorted_tables
        }


def warehouse_rows(project: Project) -> dict[str, list[tuple[object, ...]]]:
    """Every row of a project's warehouse, by its table."""
    with project.stores.warehouse.open() as connection:
        names = connection.raw.execute(
            "select table_name from duckdb_tables() where not internal and not temporary"
        ).fetchall()
        return {
            name: connection.raw.execute(f"from {name} order by all").fetchall()
            for (name,) in names
        }


def artifacts_in(project: Project) -> dict[str, bytes]:
    root = project.stores.artifacts.root
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_a_project_comes_back_as_it_was(filled: Project, tmp_path: Path) -> None:
    out = tmp_path / "backups" / "monday"
    report = back_up(filled, out)
    assert (report.has_warehouse, report.damaged, report.missing) == (True, (), ())
    assert json.loads((out / MANIFEST).read_text())["ledger_revision"] == report.ledger_revision
    restored = restore_project(out, tmp_path / "new")
    assert (restored.warehouse, restored.forgotten_again) == ("copied", False)
    new = open_project(tmp_path / "new")
    assert new.settings.project.name == "kept"
    assert (new.metrics_dir / "own.sql").read_text() == "-- name: own\nselect 1\n"
    assert rows_in(new.stores.ledger) == rows_in(filled.stores.ledger)
    assert warehouse_rows(new) == warehouse_rows(filled)
    assert artifacts_in(new) == artifacts_in(filled)
    new.stores.ledger.close()


def test_what_is_backed_up_while_others_write_is_whole(project: Project, tmp_path: Path) -> None:
    out, new_folder = tmp_path / "out", tmp_path / "new"
    with busy(project) as writer:
        writer.wait_for_drains(2)
        committed = set(writer.committed)
        report = back_up(project, out)
        writer.wait_for_drains(1)
    assert not report.missing
    restore_project(out, new_folder)
    new = open_project(new_folder)
    kept = {f"{entry.path}" for entry in read_manifest(out).files}
    for places in named_artifacts(out / LEDGER):
        assert any(f"artifacts/{place}" in kept for place in places)
    assert read_published(new.stores, "quality") is not None
    assert not [f for f in examine(new_folder) if f.state == "problem"]
    run_loop(new)
    assert committed <= _spans(new)
    with project.stores.ledger.read() as connection:
        sent = connection.scalar(sa.text("select count(*) from decisions"))
    with new.stores.ledger.read() as connection:
        assert 0 < connection.scalar(sa.text("select count(*) from decisions")) <= sent
    before = warehouse_rows(new)
    rebuild_warehouse(new)
    after = warehouse_rows(new)
    # The warehouse of the backup knows of nothing that its ledger and artifacts do not.
    for table in ("traces", "spans", "messages", "decisions"):
        assert after[table] == before[table]
    new.stores.ledger.close()


def test_what_is_replaced_at_every_look_is_in_the_backup(
    filled: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied_and_replaced(ledger: Ledger, target: Path) -> str:
        publish(filled.stores, "quality", b"[]")
        revision = write_ledger_file(ledger, target)
        publish(filled.stores, "quality", b'{"after": 1}')
        return revision

    monkeypatch.setattr("flywheel.backup.taking.write_ledger_file", copied_and_replaced)
    report = back_up(filled, tmp_path / "out")
    assert report.missing == ()
    restore_project(tmp_path / "out", tmp_path / "new")
    new = open_project(tmp_path / "new")
    assert read_published(new.stores, "quality") == b'{"after": 1}'
    new.stores.ledger.close()


def _spans(project: Project) -> set[str]:
    with project.stores.warehouse.open() as connection:
        return {name for (name,) in connection.raw.execute("select span_id from spans").fetchall()}


def test_a_backup_that_was_killed_looks_like_none(filled: Project, tmp_path: Path) -> None:
    places = tmp_path / "backups"
    # It takes a while.
    with (filled.stores.artifacts.root / "raw" / "big").open("wb") as file:
        file.truncate(1 << 28)
    filled.stores.ledger.close()
    process = get_context("fork").Process(target=back_up, args=(filled, places / "out"))
    process.start()
    deadline = time.monotonic() + PATIENCE_S
    while not list(places.glob(".out.new-*/backup/artifacts/raw/big")):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not (places / "out").exists()
    (left,) = places.iterdir()
    with pytest.raises(BadInput, match="was not finished"):
        read_manifest(left / "backup")


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small backup without a warehouse."""
    folder = tmp_path_factory.mktemp("backed-up")
    project = open_project(folder / "project")
    decide(project.stores.ledger, said("t0", True))
    publish(project.stores, "quality", b"{}")
    back_up(project, folder / "out", with_warehouse=False)
    project.stores.ledger.close()
    return folder / "out"


def files_of(backup: Path) -> list[Path]:
    return sorted(path for path in backup.rglob("*") if path.is_file())


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_every_flipped_byte_and_every_cut_is_found(backup: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(files_of(backup)))
    whole = path.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    flip = data.draw(st.integers(0, 255))
    damaged = bytearray(whole)
    damaged[position] ^= flip
    # Nothing flipped: cut off there.
    path.write_bytes(bytes(damaged) if flip else whole[:position])
    try:
        named = MANIFEST if path.name == ITS_HASH else path.name
        with pytest.raises(FlywheelError, match=named.replace(".", r"\.")):
            verify(backup, read_manifest(backup))
    finally:
        path.write_bytes(whole)
    verify(backup, read_manifest(backup))


def test_a_damaged_backup_is_refused_before_anything_is_touched(
    backup: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(backup, tmp_path / "copy")
    ledger = copy / LEDGER
    ledger.write_bytes(ledger.read_bytes()[:-1])
    with pytest.raises(BadArtifact, match=r"ledger\.sqlite was cut off after \d+ of \d+ bytes"):
        restore_project(copy, tmp_path / "new")
    ledger.unlink()
    with pytest.raises(BadArtifact, match=r"ledger\.sqlite is missing"):
        restore_project(copy, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def rewritten(backup: Path, target: Path, **values: object) -> Path:
    """A copy whose manifest says something else, with the hash that fits."""
    copy = shutil.copytree(backup, target)
    said_then = json.loads((copy / MANIFEST).read_text())
    content = json.dumps(said_then | values).encode()
    (copy / MANIFEST).write_bytes(content)
    hashed = subprocess.run(["sha256sum", MANIFEST], cwd=copy, capture_output=True, check=True)
    (copy / ITS_HASH).write_bytes(hashed.stdout)
    return copy


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"ledger_revision": "9999", "product": "7.0"}, "migration 9999.*install .* 7.0"),
        ({"warehouse_schema": 999}, "schema 999"),
        ({"format": 2}, "form 2"),
        ({"files": [{"path": "../x", "n_bytes": 0, "sha256": ""}]}, "outside"),
        ({"files": [{"path": "/etc/x", "n_bytes": 0, "sha256": ""}]}, "outside"),
        ({"files": []}, "no ledger"),
        ({"files": 3}, "no manifest"),
    ],
)
def test_what_cannot_be_restored_is_refused_in_a_sentence(
    backup: Path, tmp_path: Path, values: dict[str, object], sentence: str
) -> None:
    copy = rewritten(backup, tmp_path / "copy", **values)
    with pytest.raises(FlywheelError, match=sentence):
        restore_project(copy, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_project_that_holds_something_is_kept_or_set_aside(
    filled: Project, tmp_path: Path
) -> None:
    back_up(filled, tmp_path / "out")
    before = rows_in(filled.stores.ledger)
    decide(filled.stores.ledger, said("t1", True))
    with pytest.raises(Refused, match="holds a project already"):
        restore_project(tmp_path / "out", filled.folder)
    assert len(rows_in(filled.stores.ledger)["decisions"]) == 2
    filled.stores.ledger.close()
    (filled.folder / "flywheel.toml").write_text('[project]\nname = "later"\n')
    report = restore_project(tmp_path / "out", filled.folder, replace=True)
    new = open_project(filled.folder)
    assert rows_in(new.stores.ledger) == before
    assert new.settings.project.name == "kept"
    new.stores.ledger.close()
    names = {Path(path).name for path in report.set_aside}
    assert names == {
        f"{name}.before-restore" for name in ("artifacts", WAREHOUSE, LEDGER, "flywheel.toml")
    }
    aside = Ledger(f"sqlite:///{filled.data_dir / LEDGER}.before-restore")
    assert len(rows_in(aside)["decisions"]) == 2
    aside.close()


def test_settings_that_stand_there_stay(filled: Project, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "out")
    new = tmp_path / "new"
    new.mkdir()
    (new / "flywheel.toml").write_text('[project]\ndata_dir = "elsewhere"\n')
    report = restore_project(tmp_path / "out", new)
    assert report.kept == (str(new / "flywheel.toml"),)
    assert (new / "elsewhere" / LEDGER).exists()


def test_nothing_is_restored_under_a_running_server(filled: Project, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "out")
    home = filled.data_dir / "dagster"
    home.mkdir()
    with (home / "up.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TryAgain, match="runs for"):
            restore_project(tmp_path / "out", filled.folder, replace=True)


def test_who_was_forgotten_since_stays_forgotten(filled: Project, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "out")
    forget_user(filled, "u1")
    filled.stores.ledger.close()
    assert restore_project(tmp_path / "out", filled.folder, replace=True).forgotten_again
    assert _users(open_project(filled.folder)) == {"u0"}
    # On another machine, to which the newer tombstones were brought.
    elsewhere = tmp_path / "elsewhere"
    restore_project(tmp_path / "out", elsewhere, tombstones=filled.folder)
    assert _users(open_project(elsewhere)) == {"u0"}
    assert (elsewhere / KEY).stat().st_mode & 0o777 == 0o600
    # Of a later backup they are a part.
    back_up(open_project(elsewhere), tmp_path / "later")
    third = tmp_path / "third"
    assert not restore_project(tmp_path / "later", third).forgotten_again
    assert (third / TOMBSTONES).read_text() == (filled.folder / TOMBSTONES).read_text()


def test_tombstones_of_another_key_are_refused(filled: Project, tmp_path: Path) -> None:
    forget_user(filled, "u1")
    back_up(filled, tmp_path / "out")
    other = open_project(tmp_path / "other")
    forget_user(other, "u9")
    other.stores.ledger.close()
    with pytest.raises(Refused, match="different keys"):
        restore_project(tmp_path / "out", other.folder, replace=True)


def _users(project: Project) -> set[str]:
    with project.stores.warehouse.open() as connection:
        found = connection.raw.execute("select distinct user_id from traces").fetchall()
    project.stores.ledger.close()
    return {name for (name,) in found}


def test_without_a_warehouse_it_is_made_again(filled: Project, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "out", with_warehouse=False)
    assert not (tmp_path / "out" / WAREHOUSE).exists()
    rebuild_warehouse(filled)
    assert restore_project(tmp_path / "out", tmp_path / "new").warehouse == "rebuilt"
    new = open_project(tmp_path / "new")
    rows, same = warehouse_rows(new), warehouse_rows(filled)
    for table in ("traces", "messages", "decisions", "labels"):
        assert rows[table] == same[table]
    new.stores.ledger.close()


def test_links_cost_no_room_and_are_as_good(filled: Project, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "out", link=True)
    (raw,) = (tmp_path / "out" / "artifacts" / "raw").iterdir()
    assert raw.stat().st_nlink == 2
    restore_project(tmp_path / "out", tmp_path / "new")
    assert raw.stat().st_nlink == 2


def test_what_was_damaged_or_lost_before_is_said(
    filled: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (published,) = (filled.stores.artifacts.root / "quality").iterdir()
    published.write_bytes(b"{]")
    (raw,) = (filled.stores.artifacts.root / "raw").iterdir()
    raw.unlink()
    with pytest.raises(SystemExit) as stop:
        main(["--project", str(filled.folder), "backup", str(tmp_path / "out"), "--json"])
    assert stop.value.code == 1
    report = json.loads(capsys.readouterr().out)
    assert report["damaged"] == [f"artifacts/quality/{published.name}"]
    assert report["missing"] == [f"raw/{raw.name}"]


def test_a_backup_goes_to_a_new_place_outside_of_the_artifacts(filled: Project) -> None:
    with pytest.raises(BadInput, match="exists already"):
        back_up(filled, filled.folder)
    with pytest.raises(BadInput, match="among the artifacts"):
        back_up(filled, filled.stores.artifacts.root / "out")


def test_the_commands_say_what_they_did(
    backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = str(tmp_path / "new")
    main(["--project", new, "restore", str(backup), "--check", "--json"])
    assert json.loads(capsys.readouterr().out)["files"] == len(files_of(backup)) - 2
    main(["--project", new, "restore", str(backup), "--json"])
    assert json.loads(capsys.readouterr().out)["warehouse"] == "rebuilt"
    with pytest.raises(SystemExit) as stop:
        main(["--project", new, "restore", str(backup)])
    assert stop.value.code == 1
    assert "--replace" in capsys.readouterr().err


# From one database to the other


def test_a_ledger_goes_to_postgres_and_back_without_a_change(
    ledger: Ledger, tmp_path: Path
) -> None:
    decide(ledger, said("t0", True, reason="„Nein“\n\\N \U0001f600"))
    waiting = Inbox(ledger, 1)
    for number in (1, 2, 3):
        waiting.take_in("otlp", "shop", body(*trace_of(number)), 4)
    with ledger.begin() as connection:
        connection.execute(inbox.delete().where(inbox.c.batch_id == 3))
    write_ledger_file(ledger, tmp_path / "one.sqlite")
    assert not list(tmp_path.glob("one.sqlite-*"))
    before = _of_file(tmp_path / "one.sqlite")
    server = Ledger(new_database())
    n_rows = sum(map(len, before.values()))
    assert read_ledger_file(tmp_path / "one.sqlite", server.url) == n_rows
    # A number that was given out is not given again, on either of them.
    write_ledger_file(server, tmp_path / "two.sqlite")
    assert _of_file(tmp_path / "two.sqlite") == before
    for each in (server, Ledger(f"sqlite:///{tmp_path / 'two.sqlite'}")):
        Inbox(each, 1).take_in("otlp", "shop", body(*trace_of(9)), 4)
        with each.read() as connection:
            assert connection.scalar(sa.select(sa.func.max(inbox.c.batch_id))) == 4
        each.close()


def test_a_copy_from_postgres_that_lost_a_row_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Ledger(new_database())
    decide(server, said("t0", True))
    real = moving._rows

    def losing(connection: sa.Connection, table: sa.Table) -> list[Sequence[object]]:
        is_lost = connection.dialect.name == "sqlite" and table.name == "decisions"
        return list(real(connection, table))[is_lost:]

    monkeypatch.setattr(moving, "_rows", losing)
    with pytest.raises(Refused, match="decisions came out different: 1 rows were sent and 0"):
        write_ledger_file(server, tmp_path / "copy.sqlite")
    server.close()


def _of_file(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """The rows as the file has them, by the driver alone."""
    with closing(sqlite3.connect(path)) as raw:
        return {
            table.name: sorted(raw.execute(f"select * from {table.name}").fetchall(), key=repr)
            for table in metadata.sorted_tables
        }


def test_a_project_moves_to_postgres_by_its_backup(filled: Project, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "out")
    new = tmp_path / "new"
    new.mkdir()
    url = new_database()
    (new / "flywheel.toml").write_text(f'[ledger]\nurl = "{url}"\n')
    restore_project(tmp_path / "out", new)
    moved = open_project(new)
    assert moved.stores.ledger.url == url
    counts = {name: len(rows) for name, rows in rows_in(moved.stores.ledger).items()}
    assert counts == {name: len(rows) for name, rows in rows_in(filled.stores.ledger).items()}
    back_up(moved, tmp_path / "again")
    assert _of_file(tmp_path / "again" / LEDGER) == _of_file(tmp_path / "out" / LEDGER)
    moved.stores.ledger.close()
    with pytest.raises(Refused, match=r"holds \d+ tables"):
        restore_project(tmp_path / "again", new, replace=True)


def test_a_damaged_ledger_is_not_backed_up(filled: Project, tmp_path: Path) -> None:
    filled.stores.ledger.close()
    path = filled.data_dir / LEDGER
    content = bytearray(path.read_bytes())
    content[8192:12288] = os.urandom(4096)
    path.write_bytes(content)
    with pytest.raises((BadArtifact, sa.exc.DatabaseError)):
        back_up(open_project(filled.folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()

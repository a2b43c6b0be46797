"""The watched folder: each file is imported once, when it is whole; a bad one stops no other."""

import json
import os
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from dagster_defs.defs.traces import watched_files
from dagster_defs.resources import ProjectResource
from dagster_defs.sensors import import_watched_files
from flywheel.cli.main import cli
from flywheel.errors import BadInput
from flywheel.store import Project, open_project
from flywheel.store.tables import watched_files as rows_of_files
from flywheel.traces.watching import WatchReport, import_whole, look_at, watched_folder
from tests.conftest import trace, write_lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dropped"
    made.mkdir()
    return made


@pytest.fixture
def watched(tmp_path: Path, folder: Path) -> Project:
    home = tmp_path / "home"
    home.mkdir()
    (home / "flywheel.toml").write_text(f"[traces]\nwatch = {json.dumps(str(folder))}\n")
    return open_project(home)


def looked(project: Project, folder: Path) -> WatchReport:
    look_at(project.stores.ledger, folder)
    return import_whole(project, folder)


def states(project: Project) -> dict[str, str]:
    with project.stores.ledger.begin() as ledger:
        return {row.name: row.state for row in ledger.execute(sa.select(rows_of_files))}


def test_a_file_is_imported_at_the_second_look_and_never_again(
    project: Project, folder: Path
) -> None:
    write_lines(folder / "a.jsonl", [trace("a", "hi", "hello", "so")])
    assert import_whole(project, folder).files == 0
    assert import_whole(project, folder) == WatchReport(1, 1, 1, 0, 0, 0, [])
    assert import_whole(project, folder).files == 0
    assert states(project) == {"a.jsonl": "imported"}


def test_a_file_that_still_grows_is_left_alone(project: Project, folder: Path) -> None:
    path = write_lines(folder / "a.jsonl", [trace("a", "hi", "hello", "so")])
    look_at(project.stores.ledger, folder)
    with path.open("a") as file:
        file.write(json.dumps(trace("b", "hi", "hello", "so")) + "\n")
    assert import_whole(project, folder).files == 0
    # As long as before, but written anew.
    os.utime(path, ns=(1, 1))
    assert import_whole(project, folder).files == 0
    assert import_whole(project, folder).new == 2


def test_a_file_that_is_written_anew_is_imported_anew(project: Project, folder: Path) -> None:
    write_lines(folder / "a.jsonl", [trace("a", "hi", "hello", "so")])
    assert looked(project, folder).new == 1
    write_lines(folder / "a.jsonl", [trace("a", "hi", "hello", "so", "and on")])
    report = looked(project, folder)
    assert (report.files, report.new, report.changed) == (1, 0, 1)


def test_a_bad_file_is_reported_once_and_stops_no_other(project: Project, folder: Path) -> None:
    (folder / "a.jsonl").write_text("no traces here")
    (folder / "b.parquet").write_bytes(b"PAR1 and nothing else")
    write_lines(folder / "c.jsonl", [trace("c", "hi", "hello", "so"), {"trace_id": "d"}])
    report = looked(project, folder)
    assert (report.files, report.new, report.rejected) == (3, 1, 1)
    assert [why.split(": ")[0].split(" is ")[-1] for why in report.refused] == [
        "in no known format",
        "a damaged Parquet file",
    ]
    assert import_whole(project, folder).files == 0
    assert states(project) == {"a.jsonl": "refused", "b.parquet": "refused", "c.jsonl": "imported"}


def test_a_folder_within_names_the_application(project: Project, folder: Path) -> None:
    row = trace("a", "hi", "hello", "so")
    del row["app"]
    write_lines(folder / "shop" / "march" / "a.jsonl", [row])
    assert looked(project, folder).new == 1
    with project.stores.warehouse.open() as connection:
        assert connection.raw.execute("select app from traces").fetchall() == [("shop",)]


def test_what_is_hidden_or_being_written_is_not_looked_at(project: Project, folder: Path) -> None:
    for name in (".a.jsonl", "b.jsonl.part", "c.tmp", ".cache/d.jsonl"):
        write_lines(folder / name, [trace("a", "hi", "hello", "so")])
    assert looked(project, folder).files == 0
    assert states(project) == {}


def test_names_that_are_no_text_are_imported_too(project: Project, folder: Path) -> None:
    path = write_lines(folder / "a", [trace("a", "hi", "hello", "so")])
    os.rename(path, os.fsencode(folder) + b"/\xff.jsonl")
    assert looked(project, folder).new == 1
    assert import_whole(project, folder).files == 0


def test_a_folder_that_is_not_there_is_named(project: Project, tmp_path: Path) -> None:
    assert watched_folder(project) is None
    home = tmp_path / "home"
    home.mkdir()
    (home / "flywheel.toml").write_text('[traces]\nwatch = "dropped"\n')
    with pytest.raises(BadInput, match=r"traces\.watch names .*dropped, which is no folder"):
        watched_folder(open_project(home))


def test_the_sensor_waits_until_a_file_is_whole(watched: Project, folder: Path) -> None:
    resource = ProjectResource(folder=str(watched.folder))
    with dg.DagsterInstance.ephemeral() as instance:

        def tick() -> dg.RunRequest | dg.SkipReason:
            context = dg.build_sensor_context(instance=instance, resources={"project": resource})
            return import_watched_files(context)

        assert isinstance(tick(), dg.SkipReason)
        write_lines(folder / "a.jsonl", [trace("a", "hi", "hello", "so")])
        assert isinstance(tick(), dg.SkipReason)
        assert isinstance(tick(), dg.RunRequest)
        run = dg.materialize([watched_files], resources={"project": resource}, instance=instance)
        (made,) = run.asset_materializations_for_node("watched_files")
        assert (made.metadata["files"].value, made.metadata["new"].value) == (1, 1)
        assert isinstance(tick(), dg.SkipReason)


def test_the_sensor_says_that_nothing_is_watched(project: Project) -> None:
    resource = ProjectResource(folder=str(project.folder))
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"project": resource})
        skipped = import_watched_files(context)
    assert isinstance(skipped, dg.SkipReason)
    assert "traces.watch" in str(skipped.skip_message)


def test_the_command_imports_what_is_whole(watched: Project, folder: Path) -> None:
    write_lines(folder / "a.jsonl", [trace("a", "hi", "hello", "so")])
    (folder / "b.jsonl").write_text("no traces here")
    arguments = ["--project", str(watched.folder), "traces", "watch", "--settle-s", "0"]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["files"], report["new"], len(report["refused"])) == (2, 1, 1)
    assert json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)["files"] == 0

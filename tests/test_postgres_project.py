"""A project on one Postgres: its ledger, Dagster's storage, and what is said of both."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from dagster_defs.definitions import defs
from flywheel.cli import main
from flywheel.errors import TryAgain
from flywheel.settings import PROJECT_FILE
from flywheel.store import Project, open_project
from flywheel.store.ledger import now
from flywheel.store.standing import DAGSTER_URL, Found, dagster_standing
from flywheel.store.tables import aliases
from flywheel.traces.importing import import_file
from flywheel.up import prepare_home, run_up
from tests.conftest import trace, write_lines
from tests.postgres import new_database

NOBODY = "postgresql+psycopg2://ada:secret@127.0.0.1:1/dagster"


@pytest.fixture
def on_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[Project]:
    """A project whose ledger and Dagster storage are two databases of one server."""
    monkeypatch.setenv("FLYWHEEL_LEDGER__URL", new_database())
    monkeypatch.setenv(DAGSTER_URL, new_database())
    made = open_project(tmp_path / "project")
    yield made
    made.stores.ledger.close()


def storage(project: Project) -> Found:
    return dagster_standing(project.data_dir / "dagster")


def test_a_job_runs_with_ledger_and_dagster_on_one_server(
    on_postgres: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = on_postgres
    project.folder.mkdir(exist_ok=True)
    monkeypatch.setenv("FLYWHEEL_PROJECT", str(project.folder))
    assert storage(project)[1:3] == ("ok", f"{hidden()} is reachable and empty")
    home = prepare_home(project)
    import_file(project.stores, write_lines(tmp_path / "t.jsonl", [trace("t", "hi", "yo")]))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("traces"), dg.AssetKey("code_scores")],
            partition_key="2026-03-02",
        )
        assert result.success
        (run,) = instance.get_runs()
        assert instance.get_latest_materialization_event(dg.AssetKey("code_scores"))
        assert instance.all_instigator_state() == []
    assert storage(project)[1:3] == ("ok", f"{hidden()} is reachable")
    assert of_server("run_id from runs") == [run.run_id]
    assert of_server("count(*) > 5 from event_logs") == [True]
    assert of_server("count(*) from instigators") == [0]
    with project.stores.warehouse.open() as connection:
        assert connection.raw.execute("select count(*) > 3 from scores").fetchone() == (True,)
    assert not list(home.glob("**/*.db"))


def hidden() -> str:
    return sa.make_url(os.environ[DAGSTER_URL]).render_as_string(hide_password=True)


def of_server(what: str) -> list[object]:
    engine = sa.create_engine(os.environ[DAGSTER_URL], poolclass=sa.NullPool)
    with engine.connect() as connection:
        return list(connection.scalars(sa.text(f"select {what}")))


def test_what_is_said_of_dagsters_storage(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DAGSTER_URL, raising=False)
    assert "made by `flywheel up`" in storage(project)[2]
    home = prepare_home(project)
    assert storage(project)[1:3] == ("ok", f"SQLite in {home}")
    monkeypatch.setenv(DAGSTER_URL, NOBODY)
    assert storage(project)[1] == "warning"
    (home / "dagster.yaml").unlink()
    prepare_home(project)
    _, state, sentence, _ = storage(project)
    assert state == "problem"
    assert "ada:***@127.0.0.1:1/dagster cannot be reached" in sentence
    with pytest.raises(TryAgain, match=r"Dagster's storage: .* cannot be reached"):
        run_up(project.folder)
    monkeypatch.setenv(DAGSTER_URL, NOBODY.replace("+psycopg2", ""))
    assert "not of the driver psycopg2" in storage(project)[2]
    monkeypatch.delenv(DAGSTER_URL)
    assert "an environment variable that is not set" in storage(project)[2]
    (home / "dagster.yaml").write_text("storage: [")
    assert "is no YAML" in storage(project)[2]


def test_the_ledgers_own_database_is_none_for_dagster(
    on_postgres: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_postgres.stores.ledger.begin():
        pass
    monkeypatch.setenv(DAGSTER_URL, on_postgres.stores.ledger.url)
    _, state, sentence, remedy = storage(on_postgres)
    assert (state, "is the ledger's" in sentence) == ("problem", True)
    assert "a database of its own" in remedy


def test_a_project_is_moved_with_one_command(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FLYWHEEL_LEDGER__URL", raising=False)
    with project.stores.ledger.begin() as connection:
        connection.execute(
            aliases.insert().values(target="judge", alias="champion", version="v7", since=now())
        )
    file, url = project.data_dir / "ledger.sqlite", new_database()
    project.stores.ledger.close()
    before = file.read_bytes()
    asked = ["--project", str(project.folder), "ledger", "migrate"]
    with pytest.raises(SystemExit) as stopped:
        main(asked)
    assert stopped.value.code == 1
    assert "name the database with --to" in capsys.readouterr().err
    main([*asked, "--to", url, "--json"])
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert (report["rows"], report["tables"]["aliases"]) == (2, 1)
    (line,) = [line.strip() for line in said.err.splitlines() if "url =" in line]
    (project.folder / PROJECT_FILE).write_text(f"[ledger]\n{line}\n", encoding="utf-8")
    assert file.read_bytes() == before
    moved = open_project(project.folder).stores.ledger
    with moved.begin() as connection:
        assert connection.scalar(sa.select(aliases.c.version)) == "v7"
    moved.close()
    with pytest.raises(TryAgain, match=r"was moved to postgresql\+psycopg2://"):
        project.stores.ledger.begin().__enter__()

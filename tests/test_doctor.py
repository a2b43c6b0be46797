"""The doctor: it names what is wrong and what to do, and looking makes nothing."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from flywheel.doctor import WEB_SECRET, Finding, examine
from flywheel.store import Project
from flywheel.store.ledger import now
from flywheel.store.tables import aliases
from flywheel.web.sessions import SECRET_FILE, open_sessions
from tests.signed_in import insert_person


def finding(folder: Path, name: str) -> Finding:
    """The one finding of this name."""
    (found,) = (found for found in examine(folder) if found.name == name)
    return found


@pytest.fixture
def used(project: Project) -> Project:
    """A project whose ledger and warehouse exist."""
    with project.stores.ledger.begin() as connection:
        connection.execute(
            aliases.insert().values(target="judge", alias="champion", version="v7", since=now())
        )
    project.stores.ledger.close()
    with project.stores.warehouse.open():
        pass
    return project


def test_an_empty_folder_stays_empty_and_has_no_problem(tmp_path: Path) -> None:
    findings = examine(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert [found.name for found in findings if found.state != "ok"] == ["settings"]
    assert "flywheel init" in findings[1].remedy


def test_a_project_in_use_is_found_whole(used: Project) -> None:
    (used.folder / "flywheel.toml").write_text("")
    found = {found.name: found for found in examine(used.folder)}
    assert {finding.state for finding in found.values()} == {"ok"}
    assert "at migration" in found["ledger"].sentence
    assert found["champion"].sentence == "judge v7"
    assert "has schema" in found["warehouse"].sentence
    assert found["contents"].sentence == "0 traces of 0 days, 0 labels"


def test_every_finding_that_is_not_ok_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "broken.sql").write_text("drop table traces")
    wrong = [found for found in examine(tmp_path) if found.state != "ok"]
    assert {found.name for found in wrong} == {"settings", "metrics"}
    assert all(found.remedy for found in wrong)


def test_settings_that_cannot_be_read_end_the_examination(tmp_path: Path) -> None:
    (tmp_path / "flywheel.toml").write_text("[samplng]\nrate = 1.0\n")
    last = examine(tmp_path)[-1]
    assert (last.name, last.state) == ("settings", "problem")
    assert "did you mean 'sampling'?" in last.sentence


def test_a_ledger_of_a_newer_version_is_a_problem(used: Project) -> None:
    with used.stores.ledger.begin() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    used.stores.ledger.close()
    found = finding(used.folder, "ledger")
    assert found.state == "problem"
    assert "9999" in found.sentence


def test_a_file_that_is_no_ledger_is_a_problem(used: Project) -> None:
    (used.data_dir / "ledger.sqlite").write_bytes(b"not a database at all" * 100)
    for leftover in used.data_dir.glob("ledger.sqlite-*"):
        leftover.unlink()
    found = finding(used.folder, "ledger")
    assert found.state == "problem"
    assert "cannot be read" in found.sentence


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    url = "postgresql+psycopg2://ada:secret@127.0.0.1:1/flywheel"
    (tmp_path / "flywheel.toml").write_text(f'[ledger]\nurl = "{url}"\n')
    found = finding(tmp_path, "ledger")
    assert found.state == "problem"
    assert "secret" not in found.sentence


def test_a_warehouse_in_use_is_said_and_not_waited_for(used: Project) -> None:
    with used.stores.warehouse.open():
        assert finding(used.folder, "warehouse").state == "warning"


def test_a_file_that_is_no_warehouse_is_a_problem(used: Project) -> None:
    used.stores.warehouse.path.write_bytes(b"not a database at all" * 1000)
    found = finding(used.folder, "warehouse")
    assert found.state == "problem"
    assert "warehouse rebuild" in found.remedy


def test_a_warehouse_of_a_newer_version_is_a_problem(used: Project) -> None:
    with used.stores.warehouse.open() as connection:
        connection.raw.execute("insert into schema_version values (999, 'later')")
    assert finding(used.folder, "warehouse").state == "problem"


def test_a_folder_without_safe_weights_is_no_embedder(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "pytorch_model.bin").write_bytes(b"pickled")
    (tmp_path / "flywheel.toml").write_text(f'[judge]\nembedder = "{model}"\n')
    found = finding(tmp_path, "embedder")
    assert found.state == "problem"
    assert "safetensors" in found.remedy


def test_as_many_threads_as_cores_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "flywheel.toml").write_text("[compute]\nthreads = 4096\n")
    found = finding(tmp_path, "torch")
    assert found.state == "warning"
    assert "compute.threads" in found.remedy


@pytest.mark.parametrize(
    ("public_url", "state"),
    [
        ("", "ok"),
        ("https://fly.example", "ok"),
        ("http://localhost:3000", "ok"),
        ("http://fly.example", "warning"),
        ("fly.example", "problem"),
        ("http://[", "problem"),
    ],
)
def test_the_address_that_people_use_is_looked_at(
    tmp_path: Path, public_url: str, state: str
) -> None:
    (tmp_path / "flywheel.toml").write_text(f'[web]\npublic_url = "{public_url}"\n')
    assert finding(tmp_path, "web").state == state


def test_a_secret_that_others_can_read_is_a_problem(used: Project) -> None:
    open_sessions(used)
    assert finding(used.folder, "web").state == "ok"
    (used.data_dir / WEB_SECRET).chmod(0o644)
    states = [found.state for found in examine(used.folder) if found.name == "web"]
    assert states == ["ok", "problem"]
    assert WEB_SECRET == SECRET_FILE


def test_who_can_sign_in_is_counted(used: Project) -> None:
    assert "no admin can sign in yet" in finding(used.folder, "people").sentence
    insert_person(used.stores.ledger, "Ada", "admin")
    insert_person(used.stores.ledger, "Bob", "reviewer")
    insert_person(used.stores.ledger, "exporter", "service")
    said = finding(used.folder, "people").sentence
    assert said == "2 can sign in, 1 of them as admin; 1 program may call"

"""The doctor: it names what is wrong and what to do, and looking makes nothing."""

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from flywheel.doctor import WEB_SECRET, Finding, examine
from flywheel.forgetting import expire
from flywheel.judge.calibrating import store_calibration
from flywheel.judge.calibration import Calibration
from flywheel.judge.cascade import Thresholds
from flywheel.models.spending import Budget, Reserve
from flywheel.settings import read_settings
from flywheel.store import Project
from flywheel.store.ledger import now
from flywheel.store.tables import aliases
from flywheel.web.sessions import SECRET_FILE, open_sessions
from tests.faulty_proxy import Double
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


def test_numbers_that_the_machine_would_be_slow_in_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flywheel.toml").write_text('[compute]\nthreads = 1\nprecision = "bfloat16"\n')
    monkeypatch.setattr("flywheel.doctor.precision_here", lambda wanted: "float32")
    found = finding(tmp_path, "torch")
    assert found.state == "warning"
    assert "compute.precision" in found.remedy


def test_faster_numbers_are_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flywheel.toml").write_text("[compute]\nthreads = 1\n")
    monkeypatch.setattr("flywheel.doctor.precision_here", lambda wanted: wanted)
    assert "bfloat16 is faster here" in finding(tmp_path, "torch").sentence


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


PAID = """
[judges.paid]
model = "double"
base_url = "{url}"
api_key_env = ""
daily_usd = 0.5
usd_per_million_prompt_tokens = 1.0
"""


def test_a_server_of_a_judge_is_asked_for_its_models(used: Project) -> None:
    toml = used.folder / "flywheel.toml"
    with Double() as server:
        toml.write_text(PAID.format(url=server.url))
        assert finding(used.folder, "judge paid").sentence == "double at 127.0.0.1"
        toml.write_text(PAID.format(url=server.url).replace('"double"', '"duoble"'))
        other = finding(used.folder, "judge paid")
        assert other.sentence == "127.0.0.1 lists no model duoble; it has double"
        assert other.remedy == "correct judges.paid.model"
    gone = finding(used.folder, "judge paid")
    assert (gone.state, gone.sentence) == ("problem", "127.0.0.1 cannot be reached: ConnectError")


def test_a_judge_without_a_key_a_model_or_weights_is_a_problem(
    used: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    for table, expected in (
        ('model = "some"\napi_key_env = "JUDGE_KEY"', "'JUDGE_KEY' holds no key"),
        ('kind = "local"', "names no model"),
        (f'kind = "local"\nmodel = "{used.folder}"', "has no .safetensors weights"),
    ):
        (used.folder / "flywheel.toml").write_text(f"[judges.one]\n{table}\n")
        found = finding(used.folder, "judge one")
        assert found.state == "problem"
        assert expected in found.sentence
        assert found.remedy


def test_what_a_judge_has_spent_today_stands_beside_its_budget(used: Project) -> None:
    (used.folder / "flywheel.toml").write_text(PAID.format(url="http://127.0.0.1:9/v1"))
    settings = read_settings(used.folder).judges["paid"]
    budget = Budget(used.stores.ledger, "paid", "v1", settings)
    assert finding(used.folder, "spent today").sentence == "paid: 0.00 of 0.50 USD in 0 calls"
    budget.record([Reserve("hash", 0.2), Reserve("hash", 0.3)])
    used.stores.ledger.close()
    found = finding(used.folder, "spent today")
    assert (found.state, found.sentence) == ("warning", "paid: 0.50 of 0.50 USD in 2 calls")


def test_a_champion_behind_which_nothing_is_certified_is_pointed_out(used: Project) -> None:
    (used.folder / "flywheel.toml").write_text(
        "[judge]\ngenerative = 'large'\n[judges.large]\nkind = 'local'\nmodel = 'm'\n"
        "[targets.tills]\nkind = 'judge'\napps = ['shop']\n"
    )
    assert finding(used.folder, "certified").state == "ok"
    thresholds = Thresholds("generative", 0.9, None, 0.9)

    def certify(after: str, found: Thresholds | None = thresholds) -> None:
        about = {"judge": "large", "after": after}
        store_calibration(used.stores.ledger, "g-1", Calibration(), found, 100, about)
        used.stores.ledger.close()

    certify("v7")
    assert finding(used.folder, "certified").sentence.endswith("behind judge")
    with used.stores.ledger.begin() as connection:
        connection.execute(
            aliases.insert().values(target="tills", alias="champion", version="v8", since=now())
        )
    found = finding(used.folder, "certified")
    assert (found.state, found.remedy) == (
        "warning",
        "`flywheel judge calibrate large --target tills`",
    )
    certify("v8")
    assert finding(used.folder, "certified").state == "ok"
    certify("v8", None)
    assert finding(used.folder, "certified").state == "warning"


def left_behind(project: Project, name: str, hours: float) -> Path:
    """What a writer has left that wrote last so many hours ago."""
    folder = project.stores.artifacts.root / "raw" / name
    (folder / "content").mkdir(parents=True)
    (folder / "content" / "file").write_bytes(b"x" * 1_500_000)
    for path in (folder / "content" / "file", folder / "content", folder):
        os.utime(path, (now().timestamp() - hours * 3600,) * 2)
    return folder


def test_what_killed_writers_have_left_is_named_and_goes_with_what_is_too_old(
    used: Project,
) -> None:
    with used.stores.artifacts.new_file("raw", ".txt") as file:
        file.path.write_text("whole")
    old, young = left_behind(used, ".new-old", 25), left_behind(used, ".new-young", 23)
    # It was begun long ago, and is still written to.
    under_way = left_behind(used, ".new-way", 48)
    os.utime(under_way / "content" / "file")
    found = finding(used.folder, "leftovers")
    assert found.state == "warning"
    assert found.sentence.endswith(f"1 folder of writers that were killed, 1.5 MB, such as {old}")
    assert "flywheel traces expire" in found.remedy
    assert expire(used) is None
    assert sorted(path.name for path in young.parent.iterdir()) == sorted(
        [young.name, under_way.name, file.name]
    )
    assert "leftovers" not in {each.name for each in examine(used.folder)}

"""Files whose last bytes are damaged, and disks that are full: it is said, and nothing is lost."""

import resource
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flywheel.cli.main import main
from flywheel.doctor import examine
from flywheel.errors import BadArtifact
from flywheel.loop import rebuild_warehouse
from flywheel.store import Project
from flywheel.store.ledger import record_action
from flywheel.store.publications import publish, read_published
from flywheel.store.snapshots import KIND
from flywheel.store.wholeness import damage_of
from flywheel.traces.importing import RAW, import_file
from flywheel.traces.sampling import sample_day
from tests.conftest import trace, write_lines
from tests.fault_checks import rows_of
from tests.judged import DAY


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "t.jsonl", [trace(f"t{n}", "hi", "hello") for n in range(20)])


@pytest.fixture
def filled(project: Project, lines: Path) -> Project:
    """Twenty traces, and the snapshot of a sample of them."""
    import_file(project.stores, lines)
    sample_day(project.stores, DAY, 1.0, 1)
    return project


def spoil(project: Project, kind: str) -> Path:
    """Change the last byte of an artifact of this kind."""
    path = sorted((project.stores.artifacts.root / kind).iterdir())[0]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return path


@pytest.mark.parametrize("kind", [RAW, KIND])
def test_a_rebuild_from_a_damaged_file_names_it_and_leaves_the_warehouse_as_it_was(
    filled: Project, kind: str
) -> None:
    before, path = rows_of(filled), spoil(filled, kind)
    with pytest.raises(BadArtifact, match=rf"{path.name} is damaged"):
        rebuild_warehouse(filled)
    assert rows_of(filled) == before


def test_importing_the_file_again_puts_a_damaged_archive_right(
    filled: Project, lines: Path
) -> None:
    path = spoil(filled, RAW)
    with pytest.raises(BadArtifact), filled.stores.artifacts.plain(RAW, path.name):
        pass
    import_file(filled.stores, lines)
    with filled.stores.artifacts.plain(RAW, path.name) as plain:
        assert plain.read_bytes() == lines.read_bytes()


def test_what_was_published_and_is_damaged_is_not_shown(project: Project) -> None:
    publish(project.stores, "quality", b'{"share": 0.25}')
    path = spoil(project, "quality")
    path.write_bytes(b'{"share": 0.95}')
    with pytest.raises(BadArtifact, match=f"{path.name} is damaged"):
        read_published(project.stores, "quality")


@contextmanager
def full_disk() -> Iterator[None]:
    """No file gets longer than a page; the limit of a process, for a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def refusal(project: Project, capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says that ends with 1."""
    project.stores.ledger.close()
    with pytest.raises(SystemExit) as stop:
        main(["--project", str(project.folder), *arguments])
    sys.stderr.flush()
    assert stop.value.code == 1
    said = " ".join(capfd.readouterr().err.split())
    assert said.startswith("flywheel: ")
    return said


def test_a_command_on_a_full_disk_says_so_in_a_sentence(
    filled: Project, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = write_lines(tmp_path / "more.jsonl", [trace(f"m{n}", "hi", "ho") for n in range(9)])
    with full_disk():
        said = refusal(filled, capfd, "traces", "import", str(more))
    assert "nothing more could be written" in said
    # It works where there is room again, and nothing was half done.
    report = import_file(filled.stores, more)
    assert (report.new, report.duplicate) == (9, 0)


@pytest.mark.parametrize("keeps", [100, 40_000])
def test_a_damaged_warehouse_is_said_to_be_one_with_what_mends_it(
    filled: Project, capfd: pytest.CaptureFixture[str], keeps: int
) -> None:
    path = filled.stores.warehouse.path
    before, content = rows_of(filled), path.read_bytes()
    path.write_bytes(content[:keeps])
    said = refusal(filled, capfd, "corrections", "derive")
    assert "flywheel warehouse rebuild" in said
    rebuild_warehouse(filled)
    assert rows_of(filled) == before


def test_the_doctor_tells_of_a_ledger_that_was_cut_off(filled: Project) -> None:
    path = filled.data_dir / "ledger.sqlite"
    filled.stores.ledger.close()
    assert damage_of(path) is None
    path.write_bytes(path.read_bytes()[:-20_000])
    (found,) = [one for one in examine(filled.folder) if one.name == "ledger file"]
    assert found.state == "problem"
    assert f"{path} is damaged" in found.sentence


def left_by_a_crash(project: Project, folder: Path) -> Path:
    """A copy of the ledger and of its log, as they are while it is open."""
    with project.stores.ledger.begin() as connection:
        record_action(connection, "ann", "says", "hello", detail="x" * 9000)
    for path in project.data_dir.glob("ledger.sqlite*"):
        if not path.name.endswith("-shm"):
            shutil.copy2(path, folder / path.name)
    return folder / "ledger.sqlite"


def test_the_log_of_a_crash_is_whole(filled: Project, tmp_path: Path) -> None:
    path = left_by_a_crash(filled, tmp_path)
    log = path.with_name("ledger.sqlite-wal")
    assert log.stat().st_size > 9000
    assert damage_of(path) is None
    # What is left of an earlier log stands behind that of now, under other salts.
    log.write_bytes(log.read_bytes() + b"\0" * 4120)
    assert damage_of(path) is None


@pytest.mark.parametrize("n_bytes", [1, 8, 4096, 5000])
@pytest.mark.parametrize("is_cut", [True, False])
def test_a_log_whose_end_is_damaged_is_told_before_it_is_passed_over(
    filled: Project, tmp_path: Path, n_bytes: int, is_cut: bool
) -> None:
    path = left_by_a_crash(filled, tmp_path)
    log = path.with_name("ledger.sqlite-wal")
    content = log.read_bytes()
    log.write_bytes(content[:-n_bytes] + (b"" if is_cut else b"\xaa" * n_bytes))
    assert "ledger.sqlite-wal is damaged" in str(damage_of(path))
    # Why it matters: SQLite itself says nothing, and has not what was committed.
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("select count(*) from audit_log").fetchone() == (0,)

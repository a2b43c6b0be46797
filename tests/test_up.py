"""`flywheel up`: its ports, what it says, that its parts end together, and that nothing is left."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml

from dagster_defs.orphans import fail_orphans
from flywheel.cli import main
from flywheel.errors import TryAgain
from flywheel.store import Project, open_project
from flywheel.up import HOST, prepare_home, run_up, warn_of_listeners

ROOT = Path(__file__).resolve().parent.parent
UP = "import sys; from flywheel.cli import main; main(sys.argv[1:])"
# Seconds where nothing else runs.
PATIENCE_S = 180.0


@pytest.fixture
def taken_port() -> Iterable[int]:
    """A port that another program listens on."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize("option", ["--port", "--dagster-port"])
def test_a_taken_port_is_refused_and_a_free_one_named(
    project: Project, taken_port: int, option: str
) -> None:
    ports = (taken_port, free_port()) if option == "--port" else (free_port(), taken_port)
    with pytest.raises(TryAgain, match=rf"port {taken_port} .* in use") as caught:
        run_up(project.folder, *ports)
    suggested = int(str(caught.value).split(f"{option} ")[1].rstrip("`"))
    assert suggested > taken_port
    with socket.socket() as free:
        free.bind((HOST, suggested))


def test_the_command_that_is_named_for_a_taken_port_starts_what_was_asked_for(
    project: Project, taken_port: int
) -> None:
    with pytest.raises(TryAgain, match=r"try `flywheel up --only web --port \d+`"):
        run_up(project.folder, taken_port, None, "web")


@pytest.mark.parametrize("port", ["0", "65535", "80000", "x"])
def test_a_port_that_is_none_is_refused(project: Project, port: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--project", str(project.folder), "up", "--port", port])
    assert stop.value.code == 2


def test_the_instance_of_a_project_is_made_once_and_then_its_own(project: Project) -> None:
    home = prepare_home(project)
    shipped = yaml.safe_load((home / "dagster.yaml").read_text())
    assert shipped["telemetry"] == {"enabled": False}
    assert shipped["concurrency"]["pools"] == {"default_limit": 1, "granularity": "op"}
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (home / "workspace.yaml").unlink()
    assert prepare_home(project) == home
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"
    assert (home / "workspace.yaml").exists()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(project: Project, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """`flywheel up` for the project, in a process of its own; `stderr` is what it says."""
    command = [sys.executable, "-c", UP, "--project", str(project.folder), "up", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as up:
        try:
            yield up
        finally:
            if up.poll() is None:
                up.terminate()


def wait_for_word(process: "subprocess.Popen[str]", word: str) -> str:
    """Read what the process says until it says `word`; that line."""
    assert process.stderr is not None
    said = ""
    while True:
        line = process.stderr.readline()
        assert line, f"it ended without a word of {word!r}: {said}"
        if word in line:
            return line
        said += line


def is_gone(group: int) -> bool:
    """Whether no process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def groups_of(lock: Path) -> list[int]:
    """The groups that a lock names, the web app's first."""
    return [int(number) for number in lock.read_text().split()]


def test_the_web_app_alone_opens_with_a_link_and_ends(project: Project) -> None:
    port = free_port()
    lock = project.data_dir / "dagster" / f"web-{port}.lock"
    with running(project, "--only", "web", "--port", str(port)) as up:
        line = wait_for_word(up, f"Open http://{HOST}:{port}/welcome/")
        with urllib.request.urlopen(line.split()[1], timeout=PATIENCE_S) as page:
            assert "You are the first here" in page.read().decode()
        (group,) = groups_of(lock)
        up.send_signal(signal.SIGTERM)
        assert up.wait(PATIENCE_S) == 0
    assert is_gone(group)
    assert lock.read_text() == ""


@pytest.mark.parametrize(
    ("host", "public_url", "warned"),
    [
        ("0.0.0.0", "", "nobody else is answered until web.public_url"),
        ("0.0.0.0", "http://fly.example", "passwords cross the network"),
        ("192.0.2.1", "", "passwords cross the network"),
        ("0.0.0.0", "https://fly.example", ""),
        ("127.0.0.2", "", ""),
    ],
)
def test_whoever_lets_others_listen_in_is_warned(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    host: str,
    public_url: str,
    warned: str,
) -> None:
    monkeypatch.setenv("FLYWHEEL_WEB__PUBLIC_URL", public_url)
    warn_of_listeners(open_project(project.folder), host)
    said = capsys.readouterr().err
    assert warned in said
    assert bool(said) == bool(warned)


def test_where_one_part_ends_the_other_is_ended_too(project: Project) -> None:
    port = free_port()
    lock = project.data_dir / "dagster" / "up.lock"
    with running(project, "--port", str(port), "--dagster-port", str(free_port())) as up:
        wait_for_word(up, f"Open http://{HOST}:{port}")
        wait_for_word(up, "Dagster is at")
        web, dagster = groups_of(lock)
        with pytest.raises(TryAgain, match=f"already, as process {web} {dagster}; end that"):
            run_up(project.folder, free_port(), free_port())
        os.kill(web, signal.SIGKILL)
        wait_for_word(up, "The web app ended by itself")
        assert up.wait(PATIENCE_S) == 1
    assert is_gone(web)
    assert is_gone(dagster)
    assert lock.read_text() == ""


@dg.op
def nothing() -> None:
    """Stands for a step."""


@dg.job
def idle() -> None:
    """Stands for a job."""
    nothing()


def test_a_run_whose_process_is_gone_ends_as_failed() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        finished = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.SUCCESS)
        started = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTED)
        assert fail_orphans(instance) == 1
        status = {run.run_id: run.status for run in instance.get_runs()}
        assert status[started.run_id] == dg.DagsterRunStatus.FAILURE
        assert status[finished.run_id] == dg.DagsterRunStatus.SUCCESS
        assert fail_orphans(instance) == 0

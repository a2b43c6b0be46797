"""`flywheel up`: its instance folder, a port that is taken, and that nothing of it is left."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import dagster as dg
import pytest
import yaml

from dagster_defs.orphans import fail_orphans
from flywheel.errors import TryAgain
from flywheel.store import Project
from flywheel.up import HOST, prepare_home, run_up

ROOT = Path(__file__).resolve().parent.parent
UP = "import sys; from pathlib import Path; from flywheel.up import run_up; "
UP += "sys.exit(run_up(Path(sys.argv[1]), int(sys.argv[2])))"
# Seconds where nothing else runs.
PATIENCE_S = 180.0


@pytest.fixture
def taken_port() -> Iterable[int]:
    """A port that another program listens on."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_taken_port_is_refused_and_a_free_one_named(project: Project, taken_port: int) -> None:
    with pytest.raises(TryAgain, match=rf"port {taken_port} .* in use") as caught:
        run_up(project.folder, taken_port)
    suggested = int(str(caught.value).split("--port ")[1].rstrip("`"))
    assert suggested > taken_port
    with socket.socket() as free:
        free.bind((HOST, suggested))


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


def wait_for_word(process: "subprocess.Popen[str]", word: str) -> None:
    """Read what the process says until it says `word`."""
    assert process.stderr is not None
    said = ""
    while word not in said:
        line = process.stderr.readline()
        assert line, f"it ended without a word of {word!r}: {said}"
        said += line


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in /proc")
def test_dagster_opens_once_and_all_of_it_ends(project: Project) -> None:
    port = free_port()
    up = subprocess.Popen(
        [sys.executable, "-c", UP, str(project.folder), str(port)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with up:
        wait_for_word(up, f"Open http://{HOST}:{port}")
        (leader,) = Path(f"/proc/{up.pid}/task/{up.pid}/children").read_text().split()
        with pytest.raises(TryAgain, match=f"already, as process {leader}; end that"):
            run_up(project.folder, free_port())
        up.send_signal(signal.SIGTERM)
        assert up.wait(PATIENCE_S) == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(int(leader), 0)
    assert (project.data_dir / "dagster" / "up.lock").read_text() == ""


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

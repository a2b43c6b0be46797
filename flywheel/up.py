"""`flywheel up`: Dagster's webserver and daemon for one project, in one group, until Ctrl-C.

A project folder in, an exit code out; the one idea is that the group lives and dies as one: its
instance stands in the project's data folder, and nothing of it is left when this returns.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import IO

import click

from flywheel.errors import TryAgain
from flywheel.store import Project, open_project

HOST = "127.0.0.1"
# Dagster gives its own children 60 s to end what they do.
GRACE_S = 65.0
KILL_S = 5.0
_POLL_S = 0.5
# `dg dev`, which it speaks for, is a tool for developers and no part of the installation.
_WITHOUT_ADVICE = "ignore:Function `dev_command` is superseded"


def run_up(project_folder: Path, port: int = 3000) -> int:
    """Run Dagster for the project, on loopback, until a person or a signal ends it; an exit code.

    Raises TryAgain where it runs already or the port is taken, and BadSetting as `open_project`.
    """
    project = open_project(project_folder.absolute())
    home = prepare_home(project)
    with _alone(home / "up.lock") as lock:
        _refuse_busy(port)
        for name in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.default_int_handler)
        click.echo(f"Starting Dagster for {project.folder}; about ten seconds.", err=True)
        environment = _environment(project, home)
        if lock.read():
            click.echo("It was cut off the last time; ending what was under way.", err=True)
            orphans = [sys.executable, "-m", "dagster_defs.orphans"]
            subprocess.run(orphans, env=environment, cwd=home, check=False)
        return _run(home, environment, port, lock)


def _run(home: Path, environment: Mapping[str, str], port: int, lock: IO[str]) -> int:
    command = [sys.executable, "-W", _WITHOUT_ADVICE, "-m", "dagster", "dev"]
    command += ["--log-level", "warning", "--workspace", str(home / "workspace.yaml")]
    command += ["--host", HOST, "--port", str(port)]
    # The group holds the lock too: where this process is killed, it still stands.
    group = subprocess.Popen(
        command, env=environment, cwd=home, start_new_session=True, pass_fds=[lock.fileno()]
    )
    _write(lock, str(group.pid))
    try:
        if _answers(group, port):
            click.echo(f"Open http://{HOST}:{port} - Ctrl-C ends it.", err=True)
        code = group.wait()
        click.echo(f"Dagster ended by itself with code {code}; its words are above.", err=True)
        return 1
    except KeyboardInterrupt:
        click.echo("Ending Dagster; runs under way are stopped.", err=True)
        return 0
    finally:
        _end(group)
        _write(lock, "")


@contextmanager
def _alone(path: Path) -> Iterator[IO[str]]:
    """The lock of the project's Dagster; it holds the group's number while the group runs."""
    with path.open("a+") as lock:
        lock.seek(0)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            runs = f"Dagster runs for this project already, as process {lock.read()}"
            raise TryAgain(f"{runs}; end that with Ctrl-C or `kill -INT`") from None
        yield lock


def _write(lock: IO[str], text: str) -> None:
    lock.truncate(0)
    lock.write(text)
    lock.flush()


def prepare_home(project: Project) -> Path:
    """The project's Dagster instance folder; its dagster.yaml is written once and then kept."""
    home = project.data_dir / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    with as_file(files("dagster_defs") / "instance") as shipped:
        if not (home / "dagster.yaml").exists():
            shutil.copyfile(shipped / "dagster.yaml", home / "dagster.yaml")
        shutil.copyfile(shipped / "workspace.yaml", home / "workspace.yaml")
    return home


def _environment(project: Project, home: Path) -> dict[str, str]:
    threads = str(project.settings.compute.threads)
    return {
        "OMP_NUM_THREADS": threads,
        **os.environ,
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "FLYWHEEL_PROJECT": str(project.folder),
    }


def _refuse_busy(port: int) -> None:
    if _is_free(port):
        return
    free = next((other for other in range(port + 1, 65536) if _is_free(other)), None)
    hint = f"; try `flywheel up --port {free}`" if free else ""
    raise TryAgain(f"port {port} of {HOST} is in use by another program{hint}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _answers(group: "subprocess.Popen[bytes]", port: int) -> bool:
    """Wait until the webserver answers; False where the group ended before."""
    while group.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/server_info", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_S)
    return False


def _end(group: "subprocess.Popen[bytes]") -> None:
    """End the whole group: asked, then told, then killed; a second Ctrl-C skips the asking."""
    if group.poll() is None:
        group.send_signal(signal.SIGINT)
        try:
            group.wait(GRACE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            click.echo("Dagster takes too long; ending it at once.", err=True)
    for last_word in (signal.SIGTERM, signal.SIGKILL):
        if not _reaches(group, last_word):
            return
        deadline = time.monotonic() + KILL_S
        while time.monotonic() < deadline and _reaches(group, 0):
            time.sleep(_POLL_S)


def _reaches(group: "subprocess.Popen[bytes]", number: int) -> bool:
    """Send a signal to every process of the group; False where none is left."""
    group.poll()
    try:
        os.killpg(group.pid, number)
    except ProcessLookupError:
        return False
    return True

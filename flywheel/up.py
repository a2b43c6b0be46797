"""`flywheel up`: the web app and Dagster of one project, started together, until Ctrl-C.

A project folder in, an exit code out; the one idea is that the two live and die as one: Dagster's
instance stands in the project's data folder, where one part ends the other is ended, and nothing of
either is left when this returns.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import IO, Literal

import click
import sqlalchemy as sa

from flywheel.errors import TryAgain
from flywheel.forgetting import reapply
from flywheel.store import Project, open_project
from flywheel.store.standing import DAGSTER_URL, dagster_standing
from flywheel.web.invitations import FIRST_LINK_HOURS, ensure_first_admin_link
from flywheel.web.security import is_loopback

HOST = "127.0.0.1"
PORT = 3000
_ANY = ("0.0.0.0", "::")
# Dagster gives its own children 60 s to end what they do.
GRACE_S = 65.0
KILL_S = 5.0
_POLL_S = 0.5
# `dg dev`, which it speaks for, is a tool for developers and no part of the installation.
_WITHOUT_ADVICE = "ignore:Function `dev_command` is superseded"

# Whatever proxy the environment names, the parts are on this machine.
_directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Part = Literal["web", "dagster"]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is started, and where it listens; Dagster knows no users, and is on loopback always."""

    project: Project
    home: Path
    parts: tuple[Part, ...]
    host: str
    port: int
    dagster_port: int

    @property
    def dagster_url(self) -> str:
        return f"http://{HOST}:{self.dagster_port}"

    @property
    def web_url(self) -> str:
        """Where this machine finds the pages."""
        host = HOST if self.host in _ANY else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Running:
    """A part that was started as the leader of its own group; `probe` is where it answers.

    `farewell` is the signal by which it ends in order.
    """

    name: str
    process: "subprocess.Popen[bytes]"
    probe: str
    farewell: signal.Signals


def run_up(
    project_folder: Path,
    port: int = PORT,
    dagster_port: int | None = None,
    only: Part | None = None,
    host: str = HOST,
) -> int:
    """Run the web app and Dagster for the project until a person or a signal ends it; an exit code.

    The web app listens on `host` and `port`, Dagster on loopback and the port after it unless
    given; `only` starts one of the two. Raises TryAgain where they run already or a port is taken,
    and BadSetting as `open_project`.
    """
    project = open_project(project_folder.absolute())
    _refuse_unreachable(project, only)
    # Before a page is shown: the stores may be those of an older copy.
    reapply(project)
    home = prepare_home(project)
    parts: tuple[Part, ...] = (only,) if only else ("web", "dagster")
    plan = _Plan(project, home, parts, host, port, dagster_port or port + 1)
    # Several servers of pages may stand on one ledger; of Dagster there is one.
    with _alone(home / ("up.lock" if "dagster" in parts else f"web-{port}.lock")) as lock:
        _refuse_busy(plan)
        if "web" in parts:
            warn_of_listeners(project, host)
        for name in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.default_int_handler)
        return _run(plan, lock)


def _run(plan: _Plan, lock: IO[str]) -> int:
    was_cut_off = bool(lock.read())
    running: list[_Running] = []
    try:
        for part in plan.parts:
            running.append(
                _start_web(plan, lock) if part == "web" else _start_dagster(plan, lock, was_cut_off)
            )
            _write(lock, " ".join(str(one.process.pid) for one in running))
        ended = _watch(plan, running)
        click.echo(
            f"{ended.name} ended by itself with code {ended.process.returncode}; "
            "its words are above.",
            err=True,
        )
        return 1
    except KeyboardInterrupt:
        click.echo("Ending it; runs under way are stopped.", err=True)
        return 0
    finally:
        _end(running)
        _write(lock, "")


def _start_web(plan: _Plan, lock: IO[str]) -> _Running:
    command = [sys.executable, "-m", "flywheel.web", "--project", str(plan.project.folder)]
    command += ["--host", plan.host, "--port", str(plan.port)]
    if "dagster" in plan.parts:
        command += ["--dagster-url", plan.dagster_url]
    process = _start(plan, command, lock)
    return _Running("The web app", process, f"{plan.web_url}/healthz", signal.SIGTERM)


def _start_dagster(plan: _Plan, lock: IO[str], was_cut_off: bool) -> _Running:
    click.echo(f"Starting Dagster for {plan.project.folder}; about ten seconds.", err=True)
    if was_cut_off:
        click.echo("It was cut off the last time; ending what was under way.", err=True)
        orphans = [sys.executable, "-m", "dagster_defs.orphans"]
        environment = _environment(plan.project, plan.home)
        subprocess.run(orphans, env=environment, cwd=plan.home, check=False)
    command = [sys.executable, "-W", _WITHOUT_ADVICE, "-m", "dagster", "dev"]
    command += ["--log-level", "warning", "--workspace", str(plan.home / "workspace.yaml")]
    command += ["--host", HOST, "--port", str(plan.dagster_port)]
    process = _start(plan, command, lock)
    return _Running("Dagster", process, f"{plan.dagster_url}/server_info", signal.SIGINT)


def _start(plan: _Plan, command: Sequence[str], lock: IO[str]) -> "subprocess.Popen[bytes]":
    # Each part holds the lock too: where this process is killed, it still stands.
    return subprocess.Popen(
        command,
        env=_environment(plan.project, plan.home),
        cwd=plan.home,
        start_new_session=True,
        pass_fds=[lock.fileno()],
    )


def _watch(plan: _Plan, running: Sequence[_Running]) -> _Running:
    """Say where each part is once it answers, and wait; the first part that ended."""
    silent = list(running)
    while True:
        for part in running:
            if part.process.poll() is not None:
                return part
        for part in list(silent):
            if _answers(part):
                silent.remove(part)
                click.echo(_greeting(plan, part), err=True)
        time.sleep(_POLL_S)


def _answers(part: _Running) -> bool:
    try:
        with _directly.open(part.probe, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _greeting(plan: _Plan, part: _Running) -> str:
    if part.name == "Dagster":
        return f"Dagster is at {plan.dagster_url}. Ctrl-C ends it."
    address = plan.project.settings.web.public_url.rstrip("/") or plan.web_url
    ledger = plan.project.stores.ledger
    token = ensure_first_admin_link(ledger)
    ledger.close()
    if token is None:
        return f"Open {address} - Ctrl-C ends it."
    return (
        f"Open {address}/welcome/{token} - whoever does becomes the admin. "
        f"The link works once, for {FIRST_LINK_HOURS} hours. Ctrl-C ends it."
    )


@contextmanager
def _alone(path: Path) -> Iterator[IO[str]]:
    """The lock of what runs; it holds the numbers of the parts' groups while they run."""
    with path.open("a+") as lock:
        lock.seek(0)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            runs = f"it runs for this project already, as process {lock.read()}"
            raise TryAgain(f"{runs}; end that with Ctrl-C or `kill -INT`") from None
        yield lock


def _write(lock: IO[str], text: str) -> None:
    lock.truncate(0)
    lock.write(text)
    lock.flush()


def _refuse_unreachable(project: Project, only: Part | None) -> None:
    """Say where the ledger and Dagster's storage stand where that is on a server; both answer."""
    ledger = project.stores.ledger
    # To write, which a file that was moved refuses.
    with ledger.begin():
        pass
    if not ledger.url.startswith("sqlite"):
        shown = sa.make_url(ledger.url).render_as_string(hide_password=True)
        click.echo(f"The ledger is {shown}.", err=True)
    if only == "web":
        return
    _, state, sentence, remedy = dagster_standing(project.data_dir / "dagster")
    if state == "problem":
        raise TryAgain(f"Dagster's storage: {sentence}; {remedy}")
    if state == "warning" or os.environ.get(DAGSTER_URL):
        click.echo(f"Dagster's storage: {'; '.join(filter(None, (sentence, remedy)))}.", err=True)


def prepare_home(project: Project) -> Path:
    """The project's Dagster instance folder; its dagster.yaml is written once and then kept.

    Its storage is on a server where the environment names one at that time.
    """
    home = project.data_dir / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    with as_file(files("dagster_defs") / "instance") as shipped:
        if not (home / "dagster.yaml").exists():
            names = ["dagster.yaml", *(["storage.yaml"] if os.environ.get(DAGSTER_URL) else [])]
            parts = [(shipped / name).read_text(encoding="utf-8") for name in names]
            (home / "dagster.yaml").write_text("\n".join(parts), encoding="utf-8")
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


def _refuse_busy(plan: _Plan) -> None:
    wanted = {"web": (plan.host, plan.port), "dagster": (HOST, plan.dagster_port)}
    for part in plan.parts:
        host, port = wanted[part]
        if _is_free(host, port):
            continue
        taken = {plan.port, plan.dagster_port}
        free = next(
            (p for p in range(port + 1, 65536) if p not in taken and _is_free(host, p)), None
        )
        option = "--port" if part == "web" else "--dagster-port"
        only = f" --only {part}" if len(plan.parts) == 1 else ""
        hint = f"; try `flywheel up{only} {option} {free}`" if free else ""
        raise TryAgain(f"port {port} of {host} is in use by another program{hint}")


def warn_of_listeners(project: Project, host: str) -> None:
    """Say what follows where others can reach the web app, and no TLS stands before it."""
    public_url = project.settings.web.public_url
    if is_loopback(host) or public_url.startswith("https://"):
        return
    why = "passwords cross the network as they are; put a proxy with TLS before it"
    if host in _ANY and not public_url:
        why = "nobody else is answered until web.public_url says by which address they come"
    click.echo(f"Warning: {host} is heard by other machines: {why}.", err=True)


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _end(running: Sequence[_Running]) -> None:
    """End all of every part: asked, then told, then killed; a second Ctrl-C skips the asking."""
    asked = [part for part in running if part.process.poll() is None]
    for part in asked:
        part.process.send_signal(part.farewell)
    try:
        for part in asked:
            part.process.wait(GRACE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        click.echo("It takes too long; ending it at once.", err=True)
    for last_word in (signal.SIGTERM, signal.SIGKILL):
        left = [part.process for part in running if _reaches(part.process, last_word)]
        deadline = time.monotonic() + KILL_S
        while time.monotonic() < deadline and any(_reaches(process, 0) for process in left):
            time.sleep(_POLL_S)


def _reaches(group: "subprocess.Popen[bytes]", number: int) -> bool:
    """Send a signal to every process of the group; False where none is left."""
    group.poll()
    try:
        os.killpg(group.pid, number)
    except ProcessLookupError:
        return False
    return True

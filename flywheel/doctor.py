"""The doctor: what is configured, reachable and missing in a project, and what to do about it.

A project folder in, findings out; the one idea is that looking makes nothing: a store that does not
exist yet is said to be missing, and stays so.
"""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import duckdb
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from flywheel.errors import BadSetting, FlywheelError, WarehouseBusy
from flywheel.evolution.sandbox.standing import sandbox_standing
from flywheel.forgetting.standing import privacy_standing
from flywheel.in_use import prompt_of
from flywheel.judge.standing import judges_standing
from flywheel.metrics import load_metrics
from flywheel.models.embedder import BUNDLED, model_folder
from flywheel.models.engine import precision_here
from flywheel.models.reach import reach
from flywheel.registry.prompts import OTHER_PROMPT, of_other_prompts
from flywheel.settings import PROJECT_FILE, TracesSettings
from flywheel.store import Project, open_project, tables
from flywheel.store.ledger import ledger_url
from flywheel.store.standing import (
    dagster_standing,
    engine_to_look,
    leftovers_standing,
    moved_standing,
    version_standing,
    why_not,
)
from flywheel.store.warehouse import Warehouse
from flywheel.store.wholeness import damage_of
from flywheel.traces.inbox import fill_in

State = Literal["ok", "warning", "problem"]

# Tens of MB a day of 10,000 traces, and an adapter of some MB a retraining: a month, and an hour.
LOW_DISK_GB, NO_DISK_GB = 5.0, 0.5
# A process that holds the warehouse is reported, not waited for.
WAREHOUSE_WAIT_S = 1.0
# An inbox that is so full, or holds something for so long beyond its time, is not being drained.
FULL_SHARE, STUCK_S = 0.5, 900
# Where the web app keeps what it signs cookies with, in the data folder.
WEB_SECRET = "web.secret"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` says what to do where there is something to do."""

    name: str
    state: State
    sentence: str
    remedy: str = ""


def examine(project_folder: Path) -> list[Finding]:
    """What is configured, reachable and missing, what others stand on first."""
    python = Finding("python", "ok", f"Python {'.'.join(map(str, sys.version_info[:3]))}")
    try:
        project = open_project(project_folder)
    except FlywheelError as error:
        return [python, Finding("settings", "problem", str(error), "correct it and look again")]
    stores = (_settings, _disk, _artifacts, _ledger_file, _ledger, _warehouse)
    parts = (_metrics, _embedder, _judges, _torch, _dagster, _web)
    looked = [python, *(finding for look in (*stores, *parts) for finding in look(project))]
    standing = (*privacy_standing(project), *sandbox_standing(project))
    return looked + [Finding(*found) for found in standing]


def _settings(project: Project) -> Iterator[Finding]:
    path = project.folder / PROJECT_FILE
    if path.exists():
        yield Finding("settings", "ok", f"{path} is valid")
    else:
        yield Finding(
            "settings",
            "warning",
            f"{project.folder} has no {PROJECT_FILE}, so the defaults hold",
            f"run `flywheel init {project.folder}`, or go to the project's folder",
        )


def _disk(project: Project) -> Iterator[Finding]:
    free_gb = shutil.disk_usage(_existing(project.data_dir)).free / 1e9
    sentence = f"{free_gb:.1f} GB free for {project.data_dir}"
    if free_gb >= LOW_DISK_GB:
        yield Finding("disk", "ok", sentence)
    else:
        state: State = "warning" if free_gb >= NO_DISK_GB else "problem"
        yield Finding("disk", state, sentence, "make room, or set project.data_dir elsewhere")


def _artifacts(project: Project) -> Iterator[Finding]:
    root = project.stores.artifacts.root
    if os.access(_existing(root), os.W_OK | os.X_OK):
        yield Finding("artifacts", "ok", f"{root} can be written")
    else:
        yield Finding(
            "artifacts",
            "problem",
            f"{root} cannot be written by this user",
            "change its owner, or set artifacts.path",
        )
    if left := leftovers_standing(project.stores.artifacts):
        yield Finding(*left)


def _ledger_file(project: Project) -> Iterator[Finding]:
    """Before it is opened, which would pass over what is wrong with its log."""
    url = sa.make_url(project.stores.ledger.url)
    path = Path(url.database or "")
    if url.get_backend_name() != "sqlite" or not path.is_file():
        return
    damage = damage_of(path)
    if damage:
        remedy = "stop what writes to it, and restore a backup beside it to compare the two"
        yield Finding("ledger file", "problem", damage, remedy)


def _ledger(project: Project) -> Iterator[Finding]:
    url = ledger_url(project.stores.ledger.url)
    shown = url.render_as_string(hide_password=True)
    if moved := moved_standing(url):
        yield Finding(*moved)
        return
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        yield Finding("ledger", "ok", f"{shown} is made by the first import")
        return
    engine = engine_to_look(url)
    try:
        with engine.connect() as connection:
            present = MigrationContext.configure(connection).get_current_revision()
            yield Finding(*version_standing(shown, present))
            if present:
                yield _champions(connection)
                yield from _prompts(connection, project)
            if sa.inspect(connection).has_table(tables.users.name):
                yield _people(connection)
            if sa.inspect(connection).has_table(tables.judge_calls.name):
                standing = judges_standing(connection, project.settings)
                yield from (Finding(*found) for found in standing)
            if sa.inspect(connection).has_table(tables.inbox.name):
                yield _inbox(connection, project.settings.traces)
    except (sa.exc.DBAPIError, ModuleNotFoundError) as error:
        sentence = f"{shown} cannot be read: {why_not(error)}"
        yield Finding("ledger", "problem", sentence, "check ledger.url")
    finally:
        engine.dispose()


def _prompts(connection: sa.Connection, project: Project) -> Iterator[Finding]:
    """Causal judges that have learnt to answer another rubric than the one of now."""
    judges = [name for name, t in project.settings.targets.items() if t.kind == "chat-judge"]
    for name, champion in of_other_prompts(connection, judges, prompt_of(project)).items():
        remedy = f"run `flywheel training retrain --target {name}`, or put the rubric back"
        yield Finding(f"target {name}", "warning", f"{champion} {OTHER_PROMPT}", remedy)


def _champions(connection: sa.Connection) -> Finding:
    aliases = tables.aliases
    rows = connection.execute(
        sa.select(aliases.c.target, aliases.c.version)
        .where(aliases.c.alias == "champion")
        .order_by(aliases.c.target)
    ).all()
    named = ", ".join(f"{row.target} {row.version}" for row in rows)
    return Finding("champion", "ok", named or "none promoted yet; the cold-start judge is in use")


def _people(connection: sa.Connection) -> Finding:
    users = tables.users
    active = sa.select(users.c.role, users.c.password_hash.is_not(None)).where(users.c.is_active)
    found = Counter((role, may_sign_in) for role, may_sign_in in connection.execute(active))
    n_people = sum(n for (_, may_sign_in), n in found.items() if may_sign_in)
    n_admins = found["admin", True]
    n_programs = sum(n for (role, _), n in found.items() if role == "service")
    if not n_admins:
        sentence = "no admin can sign in yet; `flywheel up` prints a link for the first one"
        return Finding("people", "ok", sentence)
    programs = f"{n_programs} {'program' if n_programs == 1 else 'programs'} may call"
    sentence = f"{n_people} can sign in, {n_admins} of them as admin; {programs}"
    return Finding("people", "ok", sentence)


def _inbox(connection: sa.Connection, traces: TracesSettings) -> Finding:
    waiting = fill_in(connection)
    if not waiting.rows:
        return Finding("inbox", "ok", "no live traces wait")
    share, age_min = waiting.n_bytes / (traces.inbox_mb * 1e6), waiting.oldest_age_s / 60
    sentence = (
        f"{waiting.spans} spans wait, the oldest for {age_min:.0f} min; it is {share:.0%} full"
    )
    # A drain is due each half minute, and holds back what is not whole.
    if share < FULL_SHARE and waiting.oldest_age_s < traces.idle_s + STUCK_S:
        return Finding("inbox", "ok", sentence)
    remedy = "run `flywheel traces drain`, and see that the orchestrator runs"
    return Finding("inbox", "warning", sentence, remedy)


def _warehouse(project: Project) -> Iterator[Finding]:
    given = project.stores.warehouse
    if not given.is_there():
        yield Finding("warehouse", "ok", f"{given.place} is made by the first import")
        return
    try:
        with given.patient(WAREHOUSE_WAIT_S).read() as connection:
            traces, days, labels, schema = connection.rows("store/contents")[0]
    except WarehouseBusy:
        yield Finding(
            "warehouse",
            "warning",
            f"{given.place} is in use by another process",
            "look again when that run has ended",
        )
    except (duckdb.Error, OSError, BadSetting, sa.exc.DBAPIError) as error:
        yield Finding(
            "warehouse",
            "problem",
            f"{given.place} cannot be opened: {str(error).splitlines()[0]}",
            given.remedy,
        )
    else:
        yield _warehouse_version(given, int(str(schema)))
        yield Finding("contents", "ok", f"{traces} traces of {days} days, {labels} labels")


def _warehouse_version(given: Warehouse, schema: int) -> Finding:
    newest = given.newest_schema
    if schema <= newest:
        return Finding("warehouse", "ok", f"{given.place} opens and has schema {schema}")
    return Finding(
        "warehouse",
        "problem",
        f"{given.place} has schema {schema}, and this version knows {newest}",
        "install the version of flywheel-loop that wrote it, or a newer one",
    )


def _metrics(project: Project) -> Iterator[Finding]:
    try:
        metrics = load_metrics(project.metrics_dir)
    except (FlywheelError, OSError) as error:
        yield Finding("metrics", "problem", str(error), "correct the file, or take it away")
    else:
        names = ", ".join(metric.name for metric in metrics)
        yield Finding("metrics", "ok", f"{len(metrics)} by code: {names}")


def _embedder(project: Project) -> Iterator[Finding]:
    name = project.settings.judge.embedder
    if name != BUNDLED and not Path(name).is_dir():
        yield Finding("embedder", "ok", f"{name} is taken from the model hub on first use")
        return
    try:
        folder = model_folder(name)
    except (FlywheelError, OSError, ModuleNotFoundError) as error:
        yield Finding("embedder", "problem", str(error), "reinstall flywheel-loop")
        return
    if not any(folder.glob("*.safetensors")):
        remedy = "save the model as safetensors; pickled weights are not loaded"
        yield Finding("embedder", "problem", f"{folder} has no .safetensors weights", remedy)
        return
    verified = ", weights as tested" if name == BUNDLED else ""
    yield Finding("embedder", "ok", f"{name} in {folder}{verified}")


def _judges(project: Project) -> Iterator[Finding]:
    for name, settings in project.settings.judges.items():
        found = reach(name, settings)
        state: State = "problem" if found.remedy else "ok"
        yield Finding(f"judge {name}", state, found.sentence, found.remedy)


def _torch(project: Project) -> Iterator[Finding]:
    import torch

    threads, cores = project.settings.compute.threads, os.cpu_count() or 1
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    precision = project.settings.compute.precision
    fastest = precision_here("bfloat16")
    sentence = (
        f"torch {torch.__version__} on {device}, {threads} of {cores} cores, judges in {precision}"
    )
    if precision == "float32" and fastest == "bfloat16":
        sentence += "; bfloat16 is faster here, see compute.precision"
    if precision != precision_here(precision):
        remedy = 'set compute.precision to "float32"; they are read in it anyway'
        yield Finding("torch", "warning", f"{sentence}, for which there are no tiles", remedy)
    elif threads < cores or cores == 1:
        yield Finding("torch", "ok", sentence)
    else:
        # One embedding on a busy machine: 1,000 ms with as many threads as cores, 40 ms with one.
        remedy = f"set compute.threads to {cores - 1} unless nothing else runs here"
        yield Finding("torch", "warning", sentence, remedy)


def _dagster(project: Project) -> Iterator[Finding]:
    try:
        found = f"dagster {version('dagster')}, dagster-webserver {version('dagster-webserver')}"
    except PackageNotFoundError as error:
        sentence = f"{error.name} is not installed; `flywheel loop` works without it"
        yield Finding("dagster", "warning", sentence, "pip install flywheel-loop")
    else:
        yield Finding("dagster", "ok", found)
    yield Finding(*dagster_standing(project.data_dir / "dagster"))


def _web(project: Project) -> Iterator[Finding]:
    web = project.settings.web
    if web.public_url:
        yield _public_url(web.public_url)
    else:
        yield Finding("web", "ok", "the pages are for this machine; web.public_url is empty")
    secret = project.data_dir / WEB_SECRET
    if not web.secret and secret.exists() and secret.stat().st_mode & 0o077:
        sentence = f"{secret} can be read by others, who could then sign in as anybody"
        remedy = "remove it and start the web app again; everybody signs in anew"
        yield Finding("web", "problem", sentence, remedy)


def _public_url(public_url: str) -> Finding:
    try:
        scheme, host = urlsplit(public_url).scheme, urlsplit(public_url).hostname
    except ValueError:
        scheme, host = "", None
    if scheme not in ("http", "https") or not host:
        sentence = f"web.public_url is {public_url!r}, which is no address"
        return Finding("web", "problem", sentence, "write it as https://flywheel.example.com")
    if scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        sentence = f"people use {public_url}, and passwords cross the network as they are"
        return Finding("web", "warning", sentence, "put a proxy with TLS before it, and use https")
    return Finding("web", "ok", f"people use {public_url}")


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())

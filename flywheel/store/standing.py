"""How the databases behind a project stand, in sentences for the doctor and for `flywheel up`.

URLs and Dagster's instance folder in, findings out; the one idea is that looking makes nothing, and
that a server which does not answer is told at once and by name, without its password.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
import yaml
from alembic.script import ScriptDirectory

from flywheel.errors import BadSetting
from flywheel.store.artifacts import Artifacts
from flywheel.store.ledger import MIGRATIONS, POSTGRES_DRIVER, ledger_url, moved_note, now
from flywheel.store.tables import metadata

# Name, state, sentence, remedy: a finding of the doctor, whose words stand further right.
Found = tuple[str, Literal["ok", "warning", "problem"], str, str]

# Where Dagster's storage is, where it is on a server.
DAGSTER_URL = "DAGSTER_POSTGRES_URL"
STORAGE = "dagster storage"
# A host that swallows what is sent to it is reported, not waited for.
CONNECT_S = 5


def engine_to_look(place: sa.URL) -> sa.Engine:
    """An engine whose connections come about soon or not at all."""
    if place.get_backend_name() != "postgresql":
        return sa.create_engine(place, poolclass=sa.NullPool)
    patience = {"connect_timeout": CONNECT_S}
    return sa.create_engine(place, poolclass=sa.NullPool, connect_args=patience)


def why_not(error: Exception) -> str:
    """What a driver has to say, on one line."""
    return " ".join(str(getattr(error, "orig", error)).split())


def leftovers_standing(artifacts: Artifacts) -> Found | None:
    """What writers that were killed have left among the artifacts; None where there is nothing."""
    left = artifacts.leftovers(now())
    if not left:
        return None
    n_bytes = sum(p.stat().st_size for path in left for p in path.rglob("*") if p.is_file())
    what = "1 folder" if len(left) == 1 else f"{len(left)} folders"
    sentence = f"{what} of writers that were killed, {n_bytes / 1e6:.1f} MB, such as {left[0]}"
    remedy = "nothing to do: `flywheel traces expire`, which runs every night, removes them"
    return "leftovers", "warning", sentence, remedy


def version_standing(shown: str, present: str | None) -> Found:
    """Whether this version of the product knows the ledger's tables, by their migration."""
    migrations = ScriptDirectory(str(MIGRATIONS))
    head = migrations.get_current_head()
    if present == head:
        return "ledger", "ok", f"{shown} is reachable and at migration {head}", ""
    known = {script.revision for script in migrations.walk_revisions()}
    if present is None or present in known:
        sentence = f"{shown} is at migration {present or 'none'}, and the newest is {head}"
        remedy = "nothing to do: the next command that writes to it brings it up to date"
        return "ledger", "warning", sentence, remedy
    sentence = f"{shown} is at migration {present}, which this version does not know"
    remedy = "install the version of flywheel-loop that wrote it, or a newer one"
    return "ledger", "problem", sentence, remedy


def moved_standing(place: sa.URL) -> Found | None:
    """Where a file was moved to a server, and is still the ledger by the settings."""
    note = moved_note(place)
    if note is None or not note.exists():
        return None
    to = note.read_text(encoding="utf-8").strip()
    sentence = f"{place.database} was moved to {to}, and takes nothing more"
    return "ledger", "problem", sentence, f"set ledger.url; to go on here, remove {note}"


def dagster_standing(home: Path) -> Found:
    """Where Dagster keeps runs, events and schedules, by the dagster.yaml in `home`."""
    path = home / "dagster.yaml"
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return STORAGE, "problem", f"{path} is no YAML: {why_not(error)}", "correct it"
    if given is None:
        return _not_made_yet(home)
    storage = given.get("storage") if isinstance(given, Mapping) else None
    if storage is None:
        return _in_files(path)
    url = _url_of(storage)
    if url is None:
        return STORAGE, "ok", f"as {path} says; it was not looked at", ""
    if not url:
        sentence = f"{path} takes it from an environment variable that is not set"
        return STORAGE, "problem", sentence, f"set {DAGSTER_URL}, or correct the file"
    return _on_server(url)


def _not_made_yet(home: Path) -> Found:
    on_server = os.environ.get(DAGSTER_URL)
    if on_server:
        return _on_server(on_server)
    return STORAGE, "ok", f"SQLite in {home}, made by `flywheel up`", ""


def _in_files(path: Path) -> Found:
    if not os.environ.get(DAGSTER_URL):
        return STORAGE, "ok", f"SQLite in {path.parent}", ""
    sentence = f"{DAGSTER_URL} is set, and {path} keeps to SQLite"
    remedy = f"move {path} away: `flywheel up` writes it anew; runs so far stay in the old files"
    return STORAGE, "warning", sentence, remedy


def _url_of(storage: object) -> str | None:
    """The URL of a server; empty where its variable is, None where it is said in another way."""
    postgres = storage.get("postgres") if isinstance(storage, Mapping) else None
    url = postgres.get("postgres_url") if isinstance(postgres, Mapping) else None
    if isinstance(url, Mapping):
        return os.environ.get(str(url.get("env")), "")
    return url if isinstance(url, str) else None


def _on_server(url: str) -> Found:
    try:
        place = ledger_url(url)
    except BadSetting:
        place = None
    if place is None or not url.startswith(f"{POSTGRES_DRIVER}://"):
        remedy = f"write {POSTGRES_DRIVER}://USER@HOST/DATABASE"
        return STORAGE, "problem", f"{DAGSTER_URL} is not of the driver psycopg2", remedy
    shown = place.render_as_string(hide_password=True)
    engine = engine_to_look(place)
    try:
        names = set(sa.inspect(engine).get_table_names())
    except sa.exc.OperationalError as error:
        sentence = f"{shown} cannot be reached: {why_not(error)}"
        return STORAGE, "problem", sentence, "start the server, or correct the address"
    finally:
        engine.dispose()
    # Both know a table `snapshots`, and both count their migrations in `alembic_version`.
    if len(names & set(metadata.tables)) > len(metadata.tables) / 2:
        sentence = f"{shown} is the ledger's, whose tables have the same names"
        return STORAGE, "problem", sentence, "give Dagster a database of its own on that server"
    made = "is reachable" if "runs" in names else "is reachable and empty"
    return STORAGE, "ok", f"{shown} {made}", ""

"""The watched folder: files that are dropped into it in, imports out, each file once.

The one idea is two looks: a file that has the size and the time of change which it had at the look
before is whole, and only then is it imported. What became of it is kept in the ledger, so that a
bad file is reported once and stands in nobody's way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from flywheel.errors import BadInput, NeverWill
from flywheel.redaction import Redactor
from flywheel.store import Project
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import watched_files
from flywheel.traces.importing import import_file, storable

# Ends of names under which programs write what is not whole yet.
_UNFINISHED = ("~", ".tmp", ".part", ".partial", ".crdownload", ".swp")


@dataclass(frozen=True, slots=True)
class WatchReport:
    """What became of the files that were whole; `refused` says of each other file why."""

    files: int
    read: int
    new: int
    duplicate: int
    changed: int
    rejected: int
    refused: list[str]


def watched_folder(project: Project) -> Path | None:
    """The folder that `traces.watch` names, beside flywheel.toml where it is relative.

    Raises BadInput where there is no such folder.
    """
    if not project.settings.traces.watch:
        return None
    folder = project.folder / project.settings.traces.watch
    if not folder.is_dir():
        raise BadInput(f"traces.watch names {folder}, which is no folder; make it, or correct it")
    return folder


def look_at(ledger: Ledger, folder: Path) -> list[Path]:
    """Note the size and time of every file; those that are whole and not imported yet."""
    moment, whole = now(), []
    with ledger.begin() as connection:
        known = {row.name: row for row in connection.execute(sa.select(watched_files))}
        changed = []
        for name, path in _files(folder):
            try:
                seen = path.stat()
            except OSError:
                # Gone since the folder was listed.
                continue
            row = known.get(name)
            if row is None or (row.n_bytes, row.changed_ns) != (seen.st_size, seen.st_mtime_ns):
                changed.append(
                    {
                        "name": name,
                        "n_bytes": seen.st_size,
                        "changed_ns": seen.st_mtime_ns,
                        "state": "growing",
                        "why": None,
                        "seen_at": moment,
                    }
                )
            elif row.state == "growing":
                whole.append(path)
        if changed:
            this = watched_files.delete().where(watched_files.c.name == sa.bindparam("of"))
            connection.execute(this, [{"of": row["name"]} for row in changed])
            connection.execute(watched_files.insert(), changed)
    return whole


def import_watched(project: Project) -> WatchReport:
    """Import what is whole in the folder that `traces.watch` names; nothing where it names none."""
    folder = watched_folder(project)
    return import_whole(project, folder) if folder else WatchReport(0, 0, 0, 0, 0, 0, [])


def import_whole(project: Project, folder: Path) -> WatchReport:
    """Look once more, and import the files that are whole.

    A file in a folder of the watched one is of the application which has that folder's name, unless
    its rows name another.
    """
    redactor = Redactor.of(project.settings.privacy)
    files, refused = 0, []
    totals = dict.fromkeys(("read", "new", "duplicate", "changed", "rejected"), 0)
    for path in look_at(project.stores.ledger, folder):
        files += 1
        parts = path.relative_to(folder).parts
        why = None
        try:
            report = import_file(
                project.stores, path, app=parts[0] if len(parts) > 1 else None, redactor=redactor
            )
        except (NeverWill, OSError) as error:
            why = storable(error)
            refused.append(why)
        else:
            for name in ("read", "new", "duplicate", "changed"):
                totals[name] += getattr(report, name)
            totals["rejected"] += len(report.rejected)
        _settle(project.stores.ledger, _name_of(path, folder), why)
    return WatchReport(files, **totals, refused=refused)


def _settle(ledger: Ledger, name: str, why: str | None) -> None:
    values = {"state": "refused" if why else "imported", "why": why, "seen_at": now()}
    with ledger.begin() as connection:
        connection.execute(
            watched_files.update().where(watched_files.c.name == name).values(values)
        )


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and not path.name.endswith(_UNFINISHED) and path.is_file():
            yield _name_of(path, folder), path


def _name_of(path: Path, folder: Path) -> str:
    """Its path within the folder; a name may hold bytes that are no text, and the ledger not."""
    return storable(path.relative_to(folder))

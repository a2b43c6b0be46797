"""A project made of a backup: nothing is touched before the whole of it was found right.

A folder with a manifest in, a project out. The one idea is that everything is written beside its
place first and then renamed into it, the ledger last; and that who was forgotten since stays so.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from flywheel.backup.ledger_file import read_ledger_file, refuse_filled
from flywheel.backup.manifest import (
    ARTIFACTS,
    DAGSTER,
    FILES,
    LEDGER,
    WAREHOUSE,
    Entry,
    Manifest,
    Progress,
    copy_back,
    read_manifest,
    verify,
)
from flywheel.backup.who_was_forgotten import merge_tombstones
from flywheel.errors import BadArtifact, Refused, TryAgain
from flywheel.forgetting import reapply
from flywheel.loop import rebuild_warehouse
from flywheel.settings import PROJECT_FILE
from flywheel.store import Project, open_project
from flywheel.store.artifacts import sha256_of, sync_folder
from flywheel.store.tombstones import KEY, TOMBSTONES

ASIDE = ".before-restore"


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored; `kept` stood there before, `set_aside` was renamed and may be removed."""

    project: str
    taken_at: str
    product: str
    files: int
    n_bytes: int
    warehouse: str
    forgotten_again: bool
    kept: tuple[str, ...]
    set_aside: tuple[str, ...]


def restore_project(
    source: Path,
    folder: Path,
    replace: bool = False,
    tombstones: Path | None = None,
    progress: Progress | None = None,
) -> RestoreReport:
    """Make a project in `folder` of the backup in `source`.

    Settings and metrics that stand there stay; stores that hold something are refused, or with
    `replace` set aside. `tombstones` is a folder with newer ones. Raises as `read_manifest` and
    `verify`, and Refused, before anything is touched.
    """
    manifest = read_manifest(source)
    verify(source, manifest, progress)
    ledger = manifest.named(LEDGER)
    if ledger is None:
        raise BadArtifact(f"the backup in {source} has no ledger")
    is_kept = (folder / PROJECT_FILE).exists() and not replace
    project = open_project(folder, folder if is_kept else source / FILES)
    filled = _filled(project)
    if filled and not replace:
        raise Refused(
            f"{folder} holds a project already ({', '.join(map(str, filled))}); name another "
            "folder, or set what is there aside with --replace"
        )
    with _nobody_at_work(project), ExitStack() as scratches:
        merge_tombstones(folder, source / FILES, tombstones)
        parts = _unpack(source, manifest, project, scratches)
        set_aside = [_put_aside(path) for path in filled]
        for scratch, place in parts:
            _put(scratch, place)
        placed = _places(manifest, project)
        kept, of_files = _put_files(source, placed, replace)
        _put_ledger(source, ledger, project, scratches)
    return _finish(folder, manifest, kept, [*set_aside, *of_files])


def _finish(
    folder: Path, manifest: Manifest, kept: list[Path], set_aside: list[Path]
) -> RestoreReport:
    """Bring the stores up to date, and forget again whom the backup still held."""
    project = open_project(folder)
    with project.stores.ledger.read():
        pass
    has_copy = _has_file(project) and manifest.named(WAREHOUSE) is not None
    if not has_copy:
        rebuild_warehouse(project)
    is_forgotten = reapply(project) is not None
    project.stores.ledger.close()
    return RestoreReport(
        str(folder),
        manifest.taken_at,
        manifest.product,
        len(manifest.files),
        manifest.n_bytes,
        "copied" if has_copy else "rebuilt",
        is_forgotten,
        tuple(map(str, kept)),
        tuple(map(str, set_aside)),
    )


def _filled(project: Project) -> list[Path]:
    """The stores of the project that are there.

    Raises Refused where its ledger is on a server and holds rows, which nothing here sets aside.
    """
    found, root = [], project.stores.artifacts.root
    if root.is_dir() and any(root.iterdir()):
        found.append(root)
    if _has_file(project) and project.stores.warehouse.path.exists():
        found.append(project.stores.warehouse.path)
    database = _sqlite_file(project)
    if database is None:
        refuse_filled(project.stores.ledger.url)
    elif database.exists():
        found.append(database)
    return found


def _has_file(project: Project) -> bool:
    """Whether its warehouse is a file; what is on a server is rebuilt."""
    return not project.settings.warehouse.url


def _sqlite_file(project: Project) -> Path | None:
    url = sa.make_url(project.stores.ledger.url)
    is_file = url.get_backend_name() == "sqlite" and url.database
    return Path(str(url.database)) if is_file else None


@contextmanager
def _nobody_at_work(project: Project) -> Iterator[None]:
    """The lock by which `flywheel up` runs once; raises TryAgain where it does."""
    home = project.data_dir / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TryAgain(
                f"`flywheel up` runs for {project.folder}; end it, and restore again"
            ) from None
        yield


def _unpack(
    source: Path, manifest: Manifest, project: Project, scratches: ExitStack
) -> list[tuple[Path, Path]]:
    """Artifacts and warehouse beside their places; pairs of where they are and where they go."""
    root, warehouse = project.stores.artifacts.root, project.stores.warehouse.path
    scratch = _scratch_beside(root, scratches) / ARTIFACTS
    scratch.mkdir()
    for entry, place in manifest.below(ARTIFACTS):
        copy_back(source, entry, scratch / place)
    parts = [(scratch, root)]
    kept = manifest.named(WAREHOUSE)
    if kept is not None and _has_file(project):
        parts.append((_scratch_beside(warehouse, scratches) / WAREHOUSE, warehouse))
        copy_back(source, kept, parts[-1][0])
    return parts


def _put_ledger(source: Path, kept: Entry, project: Project, scratches: ExitStack) -> None:
    """The ledger, which is what makes it a project: last."""
    database = _sqlite_file(project)
    scratch = _scratch_beside(database or project.data_dir / LEDGER, scratches) / LEDGER
    copy_back(source, kept, scratch)
    if database is None:
        read_ledger_file(scratch, project.stores.ledger.url)
    else:
        _put(scratch, database)


def _places(manifest: Manifest, project: Project) -> list[tuple[Entry, Path]]:
    """The project's own files and where they go; tombstones are merged apart."""
    placed = [
        (entry, project.folder / place)
        for entry, place in manifest.below(FILES)
        if place.name not in (TOMBSTONES, KEY)
    ]
    if (instance := manifest.named(DAGSTER)) is not None:
        placed.append((instance, project.data_dir / DAGSTER))
    return placed


def _put_files(
    source: Path, placed: list[tuple[Entry, Path]], replace: bool
) -> tuple[list[Path], list[Path]]:
    """Settings, metrics and what else is the project's own; what stayed, and what was set aside."""
    kept: list[Path] = []
    set_aside: list[Path] = []
    for entry, place in placed:
        if place.exists():
            if sha256_of(place) == entry.sha256:
                continue
            if not replace:
                kept.append(place)
                continue
            set_aside.append(_put_aside(place))
        copy_back(source, entry, place)
    return kept, set_aside


def _scratch_beside(place: Path, scratches: ExitStack) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    made = tempfile.TemporaryDirectory(prefix=".restoring-", dir=place.parent)
    return Path(scratches.enter_context(made))


def _put(scratch: Path, place: Path) -> None:
    os.replace(scratch, place)
    sync_folder(place.parent)


def _put_aside(path: Path) -> Path:
    """Rename what stands there, with the logs of a database; an older one set aside goes."""
    aside = path.with_name(path.name + ASIDE)
    if aside.is_dir():
        shutil.rmtree(aside)
    for ending in ("", "-wal", "-shm", ".wal", ".moved"):
        before = path.with_name(path.name + ending)
        if before.exists():
            os.replace(before, aside.with_name(aside.name + ending))
    return aside

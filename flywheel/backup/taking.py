"""A backup taken while everybody works on: nobody is stopped, and nothing that is named is missing.

A project in, a folder that appears whole out. The one idea is the order: the warehouse first and
the ledger after it, under the warehouse's lock, so that the warehouse knows of nothing that the
ledger does not; then the artifacts, since each was there before the ledger named it. What was taken
away meanwhile was copied in a first pass, or it is all looked at again.
"""

import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from flywheel.backup.ledger_file import (
    named_artifacts,
    published_in,
    republished,
    write_ledger_file,
)
from flywheel.backup.manifest import (
    ARTIFACTS,
    DAGSTER,
    FILES,
    LEDGER,
    WAREHOUSE,
    Entry,
    Manifest,
    Progress,
    copy_file,
    write_manifest,
)
from flywheel.errors import BadInput
from flywheel.settings import PROJECT_FILE
from flywheel.store import Project
from flywheel.store.artifacts import sha256_of, sync_folder
from flywheel.store.ledger import now
from flywheel.store.publications import published
from flywheel.store.tombstones import KEY, TOMBSTONES

# Looks at ledger and artifacts, before what the ledger names and nobody has is called lost.
ATTEMPTS = 3
# What a project keeps beside its settings.
OWN_FOLDERS = ("metrics", "cases", "formats")
_BY_CONTENT = re.compile(r"([0-9a-f]{64})\.")


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was backed up where; `damaged` and `missing` artifacts were so before."""

    path: str
    files: int
    n_bytes: int
    ledger_revision: str
    has_warehouse: bool
    damaged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def back_up(
    project: Project,
    out: Path,
    with_warehouse: bool = True,
    link: bool = False,
    progress: Progress | None = None,
) -> BackupReport:
    """Write all of a project to the new folder `out`, while others go on working.

    Without the warehouse, or where that is on a server, it is rebuilt when it is restored. `link`
    makes hard links of artifacts where the file system can. Raises BadInput where `out` exists.
    """
    out = Path(os.path.normpath(out.absolute()))
    if out.exists() or out.is_symlink():
        raise BadInput(f"{out} exists already; name a new folder for the backup")
    if out.is_relative_to(project.stores.artifacts.root.absolute()):
        raise BadInput(f"{out} is among the artifacts; name a folder that is not backed up itself")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.new-", dir=out.parent) as scratch:
        folder = Path(scratch) / "backup"
        folder.mkdir(mode=0o700)
        taking = _Taking(project, folder, link, progress)
        # Who is forgotten meanwhile would stand in a half of it.
        with project.stores.nobody_forgotten():
            revision = taking.take(with_warehouse)
        manifest = write_manifest(folder, taking.taken_at, revision, taking.entries.values())
        _sync(folder)
        os.rename(folder, out)
        sync_folder(out.parent)
    return _report(out, manifest, taking)


def _report(out: Path, manifest: Manifest, taking: "_Taking") -> BackupReport:
    return BackupReport(
        str(out),
        len(manifest.files),
        manifest.n_bytes,
        manifest.ledger_revision,
        manifest.named(WAREHOUSE) is not None,
        tuple(sorted(taking.damaged)),
        tuple(sorted(taking.missing)),
    )


@dataclass
class _Taking:
    """A backup under way: what was copied so far, by its place in the backup."""

    project: Project
    folder: Path
    link: bool
    progress: Progress | None
    entries: dict[str, Entry] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    taken_at: str = ""

    def take(self, with_warehouse: bool) -> str:
        """Copy everything; the migration of the ledger."""
        self._copy_artifacts()
        for _ in range(ATTEMPTS):
            self.taken_at = now().isoformat()
            revision = self._copy_databases(with_warehouse)
            self._copy_artifacts()
            self.missing = self._lost()
            if not self.missing:
                break
        self._copy_files()
        return revision

    def _copy_databases(self, with_warehouse: bool) -> str:
        scratch = self.folder / f".{WAREHOUSE}"
        if not with_warehouse or self.project.settings.warehouse.url:
            return self._copy_ledger()
        with self.project.stores.warehouse.copied(scratch) as is_there:
            revision = self._copy_ledger()
        if is_there:
            self._keep(scratch, WAREHOUSE)
        return revision

    def _copy_ledger(self) -> str:
        scratch = self.folder / f".{LEDGER}"
        scratch.unlink(missing_ok=True)
        revision = write_ledger_file(self.project.stores.ledger, scratch)
        self._copy_published(scratch)
        self._keep(scratch, LEDGER)
        return revision

    def _copy_published(self, scratch: Path) -> None:
        """Copy what is published, which is taken away as soon as there is a newer one.

        Where the ledger's copy names one that is gone, it is made to name the one after it.
        """
        for name, artifact in published_in(scratch).items():
            wanted = artifact
            while not self._has_published(name, wanted):
                newer = published(self.project.stores, name)
                if newer is None or newer == wanted:
                    # Not replaced: it was gone before, which is reported.
                    break
                wanted = newer
            else:
                if wanted != artifact:
                    republished(scratch, name, wanted)

    def _has_published(self, name: str, artifact: str) -> bool:
        source = self.project.stores.artifacts.root / name / artifact
        place = f"{ARTIFACTS}/{name}/{artifact}"
        if place not in self.entries:
            self._copy(source, place)
        return place in self.entries

    def _keep(self, scratch: Path, name: str) -> None:
        os.replace(scratch, self.folder / name)
        path = self.folder / name
        self.entries[name] = Entry(name, path.stat().st_size, sha256_of(path))

    def _copy_artifacts(self) -> None:
        """Copy what is not copied yet; what is being written has a name with a dot before it."""
        root = self.project.stores.artifacts.root
        found = [
            (path, f"{ARTIFACTS}/{path.relative_to(root).as_posix()}") for path in _files(root)
        ]
        for number, (path, name) in enumerate(found, 1):
            # A training under way rewrites its file; every other one is what its name says.
            if name not in self.entries or name.startswith((f"{ARTIFACTS}/trainings/", _MARKS)):
                self._copy(path, name)
            if self.progress is not None:
                self.progress(number, len(found))

    def _copy(self, source: Path, name: str) -> None:
        target = self.folder / name
        try:
            if self.link and name.startswith(f"{ARTIFACTS}/") and _linked(source, target):
                entry = Entry(name, target.stat().st_size, sha256_of(target))
            else:
                entry = copy_file(source, target, name)
        except FileNotFoundError:
            # Taken away since it was listed.
            target.unlink(missing_ok=True)
            return
        self.entries[name] = entry
        by_content = _BY_CONTENT.match(source.name)
        # What is named by its plain content is looked at when it is unpacked.
        if by_content and source.suffix != ".zst" and by_content[1] != entry.sha256:
            self.damaged.add(name)

    def _copy_files(self) -> None:
        folder, settings = self.project.folder, self.project.settings
        paths = [folder / name for name in (PROJECT_FILE, TOMBSTONES, KEY)]
        paths += [
            folder / name for name in (settings.evolution.tasks, settings.gate.general) if name
        ]
        paths += [path for name in OWN_FOLDERS for path in _files(folder / name)]
        for path in paths:
            if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                self._copy(path, f"{FILES}/{path.relative_to(folder).as_posix()}")
        instance = self.project.data_dir / DAGSTER
        if instance.is_file():
            self._copy(instance, DAGSTER)

    def _lost(self) -> set[str]:
        """Artifacts that the ledger in the backup names, and the backup has not."""
        places = [Path(name).parts[1:3] for name in self.entries if name.startswith(ARTIFACTS)]
        present = {"/".join(place) for place in places}
        named = named_artifacts(self.folder / LEDGER)
        return {" or ".join(places) for places in named if not present & set(places)}


_MARKS = f"{ARTIFACTS}/."


def _linked(source: Path, target: Path) -> bool:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        target.unlink()
        return False
    except FileNotFoundError:
        raise
    except OSError:
        # Another file system, or one that knows no links.
        return False
    return True


def _files(root: Path) -> list[Path]:
    """Every whole file below `root`, in order; the marks of forgettings lie in `root` itself."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        is_root = Path(folder) == root
        found += [Path(folder) / name for name in names if is_root or not name.startswith(".")]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _sync(folder: Path) -> None:
    for place, _, _ in os.walk(folder):
        sync_folder(Path(place))

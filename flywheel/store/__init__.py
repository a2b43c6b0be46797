"""Three stores, each for one reason: ledger, warehouse, artifacts; and beside them tombstones.

`Stores` is what a stage is given; it holds no settings and decides nothing.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from flywheel.errors import BadInput
from flywheel.settings import PROJECT_FILE, Settings, read_settings
from flywheel.store.artifacts import Artifacts
from flywheel.store.ledger import Ledger
from flywheel.store.tombstones import Tombstones
from flywheel.store.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Stores:
    """The project's stores: what must not be lost, what is analysed, what is a file.

    `tombstones` say who must stay forgotten; None where there is no project around the stores.
    """

    ledger: Ledger
    warehouse: Warehouse
    artifacts: Artifacts
    tombstones: Tombstones | None = None

    def nobody_forgotten(self) -> AbstractContextManager[None]:
        """For who stores what was sifted: while the block runs, no other tombstone is written."""
        return nullcontext() if self.tombstones is None else self.tombstones.standing()


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with its settings and its stores."""

    folder: Path
    settings: Settings
    stores: Stores

    @property
    def data_dir(self) -> Path:
        """Where ledger, warehouse and artifacts stand unless they are set elsewhere."""
        return self.folder / self.settings.project.data_dir

    @property
    def metrics_dir(self) -> Path:
        """Where the project's own metrics stand."""
        return self.folder / "metrics"


def open_project(folder: Path, settings_in: Path | None = None) -> Project:
    """The project in `folder`; its stores are made where they do not exist yet.

    Its settings are those of the file in `settings_in`, where that is given.
    """
    settings = read_settings(settings_in or folder)
    data = folder / settings.project.data_dir
    stores = Stores(
        ledger=Ledger(settings.ledger.url or _in_file(data)),
        warehouse=_warehouse(settings, data),
        artifacts=Artifacts(Path(settings.artifacts.path or data / "artifacts")),
        tombstones=Tombstones(folder, data / "forgetting.lock"),
    )
    return Project(folder, settings, stores)


def find_project(folder: Path) -> Project:
    """The project that somebody has made in `folder`; looking makes nothing.

    Raises BadInput where there is neither a file of settings nor a data folder, nor a ledger on a
    server.
    """
    project = open_project(folder)
    made = (
        (folder / PROJECT_FILE).exists(),
        project.data_dir.exists(),
        project.settings.ledger.url,
    )
    if not any(made):
        raise BadInput(
            f"there is no project in {folder.absolute()}; go to its folder, or name it with "
            "--project; `flywheel init` makes a new one"
        )
    return project


def _warehouse(settings: Settings, data: Path) -> Warehouse:
    given, threads = settings.warehouse, settings.compute.threads
    limits = (given.lock_timeout_s, given.memory_limit_gb, threads)
    if not given.url:
        return Warehouse(Path(given.path or data / "warehouse.duckdb"), *limits)
    from flywheel.store.lake import Bucket, Lake

    bucket = Bucket(given.s3_endpoint, given.s3_region, given.s3_tls)
    return Lake(given.url, given.lake_path or str(data / "lake"), *limits, bucket)


def ledger_in_file(project: Project) -> Ledger:
    """The project's ledger on SQLite, also where its settings name a server by now."""
    present = project.stores.ledger
    is_in_file = present.url.startswith("sqlite")
    return present if is_in_file else Ledger(_in_file(project.data_dir))


def _in_file(data: Path) -> str:
    return f"sqlite:///{data / 'ledger.sqlite'}"

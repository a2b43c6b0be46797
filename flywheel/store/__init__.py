"""Three stores, each for one reason: ledger, warehouse, artifacts.

`Stores` is what a stage is given; it holds no settings and decides nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from flywheel.settings import Settings, read_settings
from flywheel.store.artifacts import Artifacts
from flywheel.store.ledger import Ledger
from flywheel.store.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Stores:
    """The project's stores: what must not be lost, what is analysed, what is a file."""

    ledger: Ledger
    warehouse: Warehouse
    artifacts: Artifacts


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


def open_project(folder: Path) -> Project:
    """The project in `folder`; its stores are made where they do not exist yet."""
    settings = read_settings(folder)
    data = folder / settings.project.data_dir
    stores = Stores(
        ledger=Ledger(settings.ledger.url or f"sqlite:///{data / 'ledger.sqlite'}"),
        warehouse=Warehouse(
            Path(settings.warehouse.path or data / "warehouse.duckdb"),
            lock_timeout_s=settings.warehouse.lock_timeout_s,
            memory_limit_gb=settings.warehouse.memory_limit_gb,
            threads=settings.compute.threads,
        ),
        artifacts=Artifacts(Path(settings.artifacts.path or data / "artifacts")),
    )
    return Project(folder, settings, stores)

"""What runs are given: the project, opened where a step needs it."""

from pathlib import Path

import dagster as dg

from flywheel.store import Project, open_project


class ProjectResource(dg.ConfigurableResource):
    """The project that this code location works on; `folder` is where its flywheel.toml stands."""

    folder: str

    def get(self) -> Project:
        """The project, its settings read anew and its stores opened on first use."""
        return open_project(Path(self.folder))


RESOURCES = {"project": ProjectResource(folder=dg.EnvVar("FLYWHEEL_PROJECT"))}

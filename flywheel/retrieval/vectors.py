"""Vectors in FAISS: exact while they are few, in lists when they are many.

Unit vectors and their ids in; ids of the nearest out. Nothing else of the product knows FAISS. The
one idea is that lists cost nothing but the tuning: nprobe is the smallest that finds what exact
search finds.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from flywheel.models.embedder import Vectors
from flywheel.retrieval.ranking import Floats, Integers

Kind = Literal["flat", "ivf"]

# Exact search of 20,000 takes 2 ms on one core, and that is the budget.
FLAT_UP_TO = 20_000
# Aimed at while tuning, so that .99 holds for queries that were not tuned on.
RECALL_AIM = 0.995
TUNING_QUERIES = 256


class VectorIndex:
    """A FAISS index by inner product; `nlist` and `nprobe` are 0 where it is flat."""

    def __init__(self, raw: Any, kind: Kind, nlist: int = 0, nprobe: int = 0):  # noqa: ANN401
        self.raw = raw
        self.kind = kind
        self.nlist = nlist
        self.nprobe = nprobe
        if kind == "ivf":
            raw.nprobe = nprobe

    def __len__(self) -> int:
        return int(self.raw.ntotal)

    def nearest(
        self, queries: Vectors, depth: int, among: Integers | None = None
    ) -> tuple[Integers, Floats]:
        """At most `depth` ids with their largest similarity to any query, the most similar first.

        What is among the nearest by its largest similarity is also among those of the query that
        has it, so that what each query finds is enough. Exact where `among` names the ids.
        """
        parameters = None if among is None else self._only(among)
        similarity, found = (
            part.ravel() for part in self.raw.search(queries, depth, params=parameters)
        )
        order = np.argsort(-similarity, kind="stable")
        order = order[found[order] >= 0]
        _, first = np.unique(found[order], return_index=True)
        kept = order[np.sort(first)[:depth]]
        return found[kept], similarity[kept].astype(np.float64)

    def take(self, ids: Integers) -> Vectors:
        """The vectors of these ids, float32 of shape (n_ids, dim)."""
        return np.asarray(self.raw.reconstruct_batch(ids), np.float32)

    def add(self, ids: Integers, vectors: Vectors) -> None:
        """Add vectors under ids that must be new: FAISS would take an id twice."""
        if len(ids):
            self.raw.add_with_ids(vectors, ids)

    def remove(self, ids: Integers) -> None:
        """Remove the vectors of these ids."""
        if len(ids):
            self.raw.remove_ids(ids)

    def fits(self, n: int, flat_up_to: int) -> bool:
        """Whether this kind serves n vectors: nlist within a factor 2 of 4 * sqrt(n)."""
        if n <= flat_up_to:
            return self.kind == "flat"
        return self.kind == "ivf" and 0.5 <= 4 * n**0.5 / self.nlist <= 2.0

    def write(self, path: Path) -> None:
        """Write the index to a file."""
        _faiss().write_index(self.raw, str(path))

    def _only(self, ids: Integers) -> Any:  # noqa: ANN401
        chosen = _faiss().IDSelectorBatch(ids)
        if self.kind == "flat":
            return _faiss().SearchParameters(sel=chosen)
        return _faiss().SearchParametersIVF(sel=chosen, nprobe=self.nlist)


def build_vectors(ids: Integers, vectors: Vectors, flat_up_to: int, threads: int) -> VectorIndex:
    """A new index of these vectors: flat up to `flat_up_to` of them, in lists above."""
    faiss = _faiss(threads)
    n, dim = vectors.shape
    if n <= flat_up_to:
        index = VectorIndex(faiss.IndexIDMap2(faiss.IndexFlatIP(dim)), "flat")
    else:
        nlist = round(4 * n**0.5)
        raw = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, nlist, faiss.METRIC_INNER_PRODUCT)
        raw.cp.spherical = True
        raw.cp.niter = 10
        raw.cp.min_points_per_centroid = 1
        raw.train(vectors)
        raw.set_direct_map_type(faiss.DirectMap.Hashtable)
        index = VectorIndex(raw, "ivf", nlist, nlist)
    index.add(ids, vectors)
    if index.kind == "ivf":
        _tune(index, vectors[:: max(1, n // TUNING_QUERIES)])
    return index


def read_vectors(path: Path, kind: Kind, nlist: int, nprobe: int, threads: int) -> VectorIndex:
    """The index in a file whose hash has been verified: FAISS trusts what it reads."""
    faiss = _faiss(threads)
    raw = faiss.read_index(str(path))
    if kind == "ivf":
        raw.set_direct_map_type(faiss.DirectMap.Hashtable)
    return VectorIndex(raw, kind, nlist, nprobe)


def _tune(index: VectorIndex, queries: Vectors, k: int = 5) -> None:
    """Set nprobe to the smallest power of two that finds the k nearest, beside itself."""
    # By similarity and not by id: equal texts have equal vectors, and any of them will do.
    last = index.raw.search(queries, k + 1)[0][:, -1:] - 1e-6
    nprobe = 4
    while nprobe < index.nlist:
        index.raw.nprobe = nprobe
        if (index.raw.search(queries, k + 1)[0] >= last).mean() >= RECALL_AIM:
            break
        nprobe *= 2
    index.nprobe = index.raw.nprobe = min(nprobe, index.nlist)


def _faiss(threads: int | None = None) -> Any:  # noqa: ANN401
    import faiss

    if threads is not None:
        faiss.omp_set_num_threads(threads)
    # Its stubs lack what its Python layer adds.
    module: Any = faiss
    return module

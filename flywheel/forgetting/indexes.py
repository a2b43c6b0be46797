"""The correction indexes without those who must go: a new current generation, and no older one.

A selection in, generations out; the vectors of all others are those that they were.
"""

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flywheel.forgetting.selection import Selection
from flywheel.retrieval.index import (
    KINDS,
    Purpose,
    current_version,
    folder_of,
    only_writer,
    publish,
    read_current,
)
from flywheel.store import Stores


def rewrite_indexes(stores: Stores, gone: Selection) -> Counter[str]:
    """Take the examples out of both indexes; how many rows went, and how many old generations."""
    n: Counter[str] = Counter()
    for purpose in KINDS:
        if folder_of(stores, purpose).is_dir():
            with only_writer(stores, purpose):
                _rewrite_current(stores, purpose, gone, n)
                _remove_older(stores, purpose, gone, n)
    return n


def _rewrite_current(stores: Stores, purpose: Purpose, gone: Selection, n: Counter[str]) -> None:
    index = read_current(stores, purpose=purpose)
    if index is None:
        return
    must_go = _is_gone(index.rows, gone)
    if not pc.any(must_go).as_py():
        return
    kept = index.rows.filter(pc.invert(must_go))
    index.vectors.remove(index.rows.filter(must_go)["faiss_id"].to_numpy())
    draft = replace(index.manifest, n=len(kept), parent=None, sha256={}, version="")
    publish(stores, draft, index.vectors, kept, purpose)
    n[f"rows of the {purpose} index"] += len(must_go) - len(kept)


def _remove_older(stores: Stores, purpose: Purpose, gone: Selection, n: Counter[str]) -> None:
    current = current_version(stores, purpose)
    for folder in sorted(folder_of(stores, purpose).iterdir()):
        rows = folder / "rows.parquet"
        if folder.name == current or folder.name.startswith(".") or not rows.is_file():
            continue
        if pc.any(_is_gone(pq.read_table(rows), gone)).as_py():
            stores.artifacts.remove(KINDS[purpose], folder.name)
            n["old generations"] += 1


def _is_gone(rows: pa.Table, gone: Selection) -> pa.Array:
    of_traces = pc.is_in(rows["trace_id"], value_set=pa.array(sorted(gone.traces), pa.string()))
    named = pc.is_in(rows["correction_id"], value_set=pa.array(sorted(gone.examples), pa.string()))
    return pc.or_(of_traces, named).combine_chunks()

"""What users asked on a day, as vectors that are kept, so that days can be compared.

First turns of users in, unit vectors out; the one idea is that a text is embedded once for ever: a
day's vectors are an artifact, and only what is new is embedded.
"""

import io
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.errors import BadArtifact, NotFound
from flywheel.models.embedder import Embedder, Vectors
from flywheel.store import Stores
from flywheel.store.publications import publish, read_published

# Traces of a day, drawn by hash: seconds of embedding once, 200 KB for ever.
TRACES_OF_DAY = 250
# Of a request; the model reads some 256 tokens of it.
MAX_CHARS = 2_000
_EMBEDDER = b"embedder"


@dataclass(frozen=True, slots=True)
class DayVectors:
    """What was asked on one day: `vectors` is float32 of shape (n, dim), of unit length."""

    day: date
    apps: list[str]
    sessions: list[str]
    vectors: Vectors


def vectors_of_day(stores: Stores, embedder: Embedder, day: date) -> DayVectors:
    """The vectors of at most 250 traces of the day; what is missing is embedded and kept."""
    with stores.warehouse.read() as connection:
        rows = connection.table(
            "quality/requests_of_day", day=day, most=TRACES_OF_DAY, max_chars=MAX_CHARS
        )
    keys = list(zip(rows["trace_id"].to_pylist(), rows["content_hash"].to_pylist(), strict=True))
    known = _kept(stores, embedder, day)
    missing = [i for i, key in enumerate(keys) if key not in known]
    texts = rows["request"].to_pylist()
    fresh = embedder.encode([texts[i] for i in missing])
    # As they are kept, so that what is read again is what was measured.
    known |= {keys[i]: v.astype(np.float16) for i, v in zip(missing, fresh, strict=True)}
    vectors = (
        np.stack([known[key] for key in keys]).astype(np.float32)
        if keys
        else np.empty((0, 0), np.float32)
    )
    if missing:
        _keep(stores, embedder, day, rows, vectors)
    return DayVectors(day, rows["app"].to_pylist(), rows["session"].to_pylist(), vectors)


def _name(day: date) -> str:
    return f"vectors-{day.isoformat()}"


def _kept(stores: Stores, embedder: Embedder, day: date) -> dict[tuple[str, str], Vectors]:
    """The vectors that are there, by version of a trace; none of another embedder."""
    try:
        content = read_published(stores, _name(day))
    except (BadArtifact, NotFound):
        # They are worked out again.
        return {}
    if content is None:
        return {}
    table = pq.read_table(io.BytesIO(content))
    if (table.schema.metadata or {}).get(_EMBEDDER) != embedder.version.encode():
        return {}
    vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False)).astype(np.float32)
    keys = zip(table["trace_id"].to_pylist(), table["content_hash"].to_pylist(), strict=True)
    return dict(zip(keys, vectors, strict=True))


def _keep(stores: Stores, embedder: Embedder, day: date, rows: pa.Table, vectors: Vectors) -> None:
    flat = pa.array(vectors.astype(np.float16).ravel(), pa.float16())
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    table = rows.select(["trace_id", "content_hash"]).append_column("vector", column)
    table = table.replace_schema_metadata({_EMBEDDER: embedder.version.encode()})
    page = io.BytesIO()
    pq.write_table(table, page, compression="zstd")
    publish(stores, _name(day), page.getvalue(), ".parquet")

"""The index follows the labels: what is new is embedded and added, what no longer stands removed.

`labels` and `corrections` of the warehouse in, a generation of the index out. The one idea is that
an update costs what has changed: the difference is found in SQL, and only its texts are read and
embedded.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel.models.embedder import Embedder, Vectors
from flywheel.records import Conversation
from flywheel.retrieval.index import (
    ROWS,
    CorrectionIndex,
    Manifest,
    current_version,
    faiss_id,
    only_writer,
    point_to,
    publish,
    read_current,
)
from flywheel.retrieval.keys import KeyTurns, key_turns, key_vectors
from flywheel.retrieval.vectors import FLAT_UP_TO, VectorIndex, build_vectors
from flywheel.safety import injected_instruction
from flywheel.store import Stores
from flywheel.traces.conversations import InputLevers, read_traces

# A row of the warehouse or of the index, by column.
Row = dict[str, Any]

# What sql/retrieval/example_changes.sql compares.
_COMPARED = [
    "correction_id",
    "trace_id",
    "content_hash",
    "session_id",
    "user_id",
    "app",
    "perceived_error",
    "evidence_turn",
    "decided_at",
    "corrected_text",
    "corrected_tool_calls",
]


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an update did; `version` is None while there has never been an example.

    `injected` are the corrections left out because they address a model; `damaged` says what was
    wrong with the generation that this one replaces.
    """

    version: str | None
    added: int
    removed: int
    total: int
    kind: str
    skipped: dict[str, int]
    injected: tuple[str, ...] = ()
    damaged: str | None = None


@dataclass(frozen=True, slots=True)
class _Change:
    """Rows to add with the turns that make their keys, rows to remove, and what was left out."""

    rows: pa.Table
    keys: list[KeyTurns]
    gone: list[str]
    skipped: dict[str, int]
    injected: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the index holds what it should."""
        return not self.keys and not self.gone


def update_index(
    stores: Stores, embedder: Embedder, levers: InputLevers, flat_up_to: int = FLAT_UP_TO
) -> IndexReport:
    """Bring the published index up to the labels; nothing is written where nothing changed.

    All is embedded again only under another embedder or other levers, and the vectors are arranged
    anew only where their number asks for another kind of index (flat up to `flat_up_to`).
    """
    with only_writer(stores):
        current = read_current(stores, embedder.threads)
        base = current
        made_with = (embedder.version, _fingerprint(levers))
        if current and (current.manifest.embedder, current.manifest.levers) != made_with:
            base = None
        change = _read_change(stores, levers, base, current)
        if change.is_empty and base is current:
            if base and base.version != current_version(stores):
                point_to(stores, base.version)
            manifest = base.manifest if base else None
        else:
            vectors = key_vectors(embedder, change.keys)
            index, rows = _apply(change, vectors, base, embedder, flat_up_to)
            parent = current.version if current else None
            kind, nlist, nprobe = index.kind, index.nlist, index.nprobe
            draft = Manifest(*made_with, kind, nlist, nprobe, len(rows), parent, {})
            manifest = publish(stores, draft, index, rows)
    return IndexReport(
        version=manifest.version if manifest else None,
        added=len(change.keys),
        removed=len(change.gone) if base is current else len(current or ()),
        total=manifest.n if manifest else 0,
        kind=manifest.kind if manifest else "flat",
        skipped=change.skipped,
        injected=change.injected,
        damaged=current.damaged if current else None,
    )


def _read_change(
    stores: Stores,
    levers: InputLevers,
    base: CorrectionIndex | None,
    current: CorrectionIndex | None,
) -> _Change:
    """What the labels ask for, beside `base`; what `current` knows of disagreements is kept."""
    known = (base.rows if base else ROWS.empty_table()).select(_COMPARED)
    conversations: dict[str, Conversation] = {}
    disagreements: dict[object, object] = {}
    with stores.warehouse.open() as connection:
        with connection.given(known=known):
            changes = connection.table("retrieval/example_changes").to_pylist()
        new = [row for row in changes if row["change"] == "new"]
        traces = pa.array([row["trace_id"] for row in new], pa.string())
        if new:
            found = read_traces(connection, traces.to_pylist(), levers)
            conversations = {conversation.trace_id: conversation for conversation in found}
            with connection.given(wanted=pa.table({"trace_id": traces})):
                verdicts = dict(connection.run("retrieval/verdicts").fetchall())
            disagreements = {
                _identity(row): verdicts.get(row["trace_id"]) is (not row["perceived_error"])
                for row in new
            }
    if current:
        same = current.rows.filter(pc.is_in(current.rows["trace_id"], value_set=traces))
        disagreements |= {_identity(row): row["disagreement"] for row in same.to_pylist()}
    gone = [row["correction_id"] for row in changes if row["change"] == "gone"]
    return _examples(new, conversations, disagreements, gone)


def _examples(
    new: Iterable[Row],
    conversations: Mapping[str, Conversation],
    disagreements: Mapping[object, object],
    gone: list[str],
) -> _Change:
    rows: list[Row] = []
    keys: list[KeyTurns] = []
    injected: list[str] = []
    skipped: Counter[str] = Counter()
    for row in new:
        key = key_turns(conversations[row["trace_id"]], row["evidence_turn"])
        if key is None:
            skipped["no reaction of the user"] += 1
            continue
        turn, answer = (part.text for part in key)
        better = (row["corrected_text"] or "", row["corrected_tool_calls"] or "")
        if any(injected_instruction(text) for text in (turn, answer, *better)):
            skipped["addresses a model"] += 1
            injected.append(row["correction_id"])
            continue
        keys.append(key)
        made = {
            "faiss_id": faiss_id(row["correction_id"]),
            "disagreement": disagreements[_identity(row)],
            "turn_text": turn,
            "answer_text": answer,
        }
        rows.append(row | made)
    added = pa.Table.from_pylist(rows, schema=ROWS)
    return _Change(added, keys, gone, dict(skipped), tuple(injected))


def _apply(
    change: _Change,
    vectors: Vectors,
    base: CorrectionIndex | None,
    embedder: Embedder,
    flat_up_to: int,
) -> tuple[VectorIndex, pa.Table]:
    """The index after the change, and its rows."""
    ids = change.rows["faiss_id"].to_numpy()
    if base is None or not len(base):
        rows = change.rows.sort_by("faiss_id")
        return build_vectors(ids, vectors, flat_up_to, embedder.threads), rows
    gone = pa.array(change.gone, pa.string())
    stays = ~pc.is_in(base.rows["correction_id"], value_set=gone).to_numpy()
    rows = pa.concat_tables([base.rows.filter(stays), change.rows]).sort_by("faiss_id")
    index = base.vectors
    if index.fits(len(rows), flat_up_to):
        index.remove(base.ids[~stays])
        index.add(ids, vectors)
        return index, rows
    kept = base.ids[stays]
    held = index.take(kept)
    if len(ids):
        held = np.concatenate([held, vectors])
    return build_vectors(np.concatenate([kept, ids]), held, flat_up_to, embedder.threads), rows


def _identity(row: Row) -> tuple[object, ...]:
    return row["trace_id"], row["content_hash"], row["perceived_error"]


def _fingerprint(levers: InputLevers) -> str:
    return hashlib.sha256(json.dumps(asdict(levers)).encode()).hexdigest()[:12]

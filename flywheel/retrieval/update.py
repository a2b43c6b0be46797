"""The indexes follow the labels: what is new is embedded and added, what no longer stands removed.

`labels` and `corrections` of the warehouse in, a generation of each index out. The one idea is that
an update costs what has changed: the difference is found in SQL, and only its texts are read and
embedded.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel.models.embedder import Embedder, Vectors
from flywheel.records import Conversation
from flywheel.retrieval.examples import ADDRESSES_A_MODEL, Row, key_of, vectors_of, words_of
from flywheel.retrieval.generation import ROWS, CorrectionIndex, Held, Manifest, faiss_id
from flywheel.retrieval.index import (
    Purpose,
    current_version,
    note_held,
    only_writer,
    point_to,
    publish,
    read_current,
)
from flywheel.retrieval.keys import KeyTurns
from flywheel.retrieval.places import Place, read_places
from flywheel.retrieval.vectors import FLAT_UP_TO, VectorIndex, build_vectors
from flywheel.store import Stores
from flywheel.store.warehouse import Connection
from flywheel.traces.conversations import InputLevers, read_traces

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
    "corrected_turn",
    "original_tool_calls",
]
# Ids before the newest decision among which one may be missing whose transaction was under way.
HELD_WINDOW = 1_000


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
class IndexesReport(IndexReport):
    """What an update did to the judges' index, and in `application` to the other one."""

    application: IndexReport | None = None


@dataclass(frozen=True, slots=True)
class _Change:
    """Rows to add with the turns that make their keys, rows to remove, and what was left out."""

    rows: pa.Table
    keys: list[KeyTurns]
    gone: list[str]
    skipped: dict[str, int]
    injected: tuple[str, ...]
    held: Held

    @property
    def is_empty(self) -> bool:
        """Whether the index holds what it should."""
        return not self.keys and not self.gone


def update_indexes(stores: Stores, embedder: Embedder, levers: InputLevers) -> IndexesReport:
    """Bring both published indexes up to the labels: the judges' and the applications'."""
    own = update_index(stores, embedder, levers)
    of_applications = update_index(stores, embedder, levers, purpose="application")
    return IndexesReport(
        **{field.name: getattr(own, field.name) for field in fields(own)},
        application=of_applications,
    )


def update_index(
    stores: Stores,
    embedder: Embedder,
    levers: InputLevers,
    flat_up_to: int = FLAT_UP_TO,
    purpose: Purpose = "judge",
) -> IndexReport:
    """Bring a published index up to the labels; no generation is written where nothing changed.

    All is embedded again only under another embedder or other levers, or once where a generation
    of an earlier release does not know to which nodes its examples belong; and the vectors are
    arranged anew only where their number asks for another kind of index (flat up to `flat_up_to`).
    """
    words = words_of(levers, purpose)
    with only_writer(stores, purpose):
        current = read_current(stores, embedder.threads, purpose)
        base = current
        made_with = (embedder.version, _fingerprint(words))
        if current and (current.manifest.embedder, current.manifest.levers) != made_with:
            base = None
        change = _read_change(stores, words, base, current, purpose)
        if change.is_empty and base is current:
            manifest = _keep(stores, base, change.held, purpose) if base else None
        else:
            vectors = vectors_of(embedder, change.keys, purpose)
            index, rows = _apply(change, vectors, base, embedder, flat_up_to)
            parent = current.version if current else None
            kind, nlist, nprobe = index.kind, index.nlist, index.nprobe
            draft = Manifest(
                *made_with, kind, nlist, nprobe, len(rows), parent, {}, held=change.held
            )
            manifest = publish(stores, draft, index, rows, purpose)
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


def _keep(stores: Stores, base: CorrectionIndex, held: Held, purpose: Purpose) -> Manifest:
    """Leave a generation as it is: it speaks of these decisions too."""
    note_held(stores, base.version, held, purpose)
    if base.version != current_version(stores, purpose):
        point_to(stores, base.version, purpose)
    return base.manifest


def _read_change(
    stores: Stores,
    words: InputLevers,
    base: CorrectionIndex | None,
    current: CorrectionIndex | None,
    purpose: Purpose,
) -> _Change:
    """What the labels ask for, beside `base`; what `current` knows of disagreements is kept."""
    known = _known(base, purpose)
    conversations: dict[str, Conversation] = {}
    disagreements: dict[object, object] = {}
    places: dict[str, Place] = {}
    with stores.warehouse.open() as connection:
        held = _held(connection)
        with connection.given(known=known):
            changes = connection.table("retrieval/example_changes").to_pylist()
        new = [row for row in changes if row["change"] == "new"]
        traces = pa.array([row["trace_id"] for row in new], pa.string())
        if new:
            found = read_traces(connection, traces.to_pylist(), words)
            conversations = {conversation.trace_id: conversation for conversation in found}
            if purpose == "application":
                places = read_places(connection, new, conversations)
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
    new = [
        row | asdict(places[row["trace_id"]]) if row["trace_id"] in places else row for row in new
    ]
    return _examples(new, conversations, disagreements, gone, held, purpose)


def _known(base: CorrectionIndex | None, purpose: Purpose) -> pa.Table:
    """What the index holds, and whether it was looked at which node each example belongs to."""
    rows = base.rows if base else ROWS.empty_table()
    is_placed = pc.is_valid(rows["node"])
    if purpose == "judge":
        is_placed = pa.array([True] * len(rows), pa.bool_())
    return rows.select(_COMPARED).append_column("is_placed", is_placed)


def _held(connection: Connection) -> Held:
    ((newest, missing),) = connection.rows("retrieval/decisions_held", window=HELD_WINDOW)
    assert isinstance(newest, int)
    assert isinstance(missing, list)
    return Held(newest, tuple(missing))


def _examples(
    new: Iterable[Row],
    conversations: Mapping[str, Conversation],
    disagreements: Mapping[object, object],
    gone: list[str],
    held: Held,
    purpose: Purpose,
) -> _Change:
    rows: list[Row] = []
    keys: list[KeyTurns] = []
    injected: list[str] = []
    skipped: Counter[str] = Counter()
    for row in new:
        key = key_of(row, conversations[row["trace_id"]], purpose)
        if isinstance(key, str):
            skipped[key] += 1
            injected += [row["correction_id"]] if key == ADDRESSES_A_MODEL else []
            continue
        keys.append(key)
        made = {
            "faiss_id": faiss_id(row["correction_id"]),
            "disagreement": disagreements[_identity(row)],
            "turn_text": key[0].text,
            "answer_text": key[1].text,
        }
        rows.append(row | made)
    added = pa.Table.from_pylist(rows, schema=ROWS)
    return _Change(added, keys, gone, dict(skipped), tuple(injected), held)


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


def _fingerprint(words: InputLevers) -> str:
    return hashlib.sha256(json.dumps(words.named()).encode()).hexdigest()[:12]

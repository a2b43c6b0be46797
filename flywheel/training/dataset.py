"""The training set: what people decided, and panels, with the conversations, under a hash.

Labels and conversations in, one Parquet snapshot and `LabelledConversation` rows out. The one idea
is that a training reads the snapshot and nothing else, so that it can be done again. The holdout
never enters, nor what is like it; near-duplicates stand in it once, and a session that stands on
both sides blocks the run.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.errors import Leak
from flywheel.records import Conversation, LabelledConversation, Split, Turn
from flywheel.store import Stores
from flywheel.store.warehouse import Connection
from flywheel.traces.conversations import InputLevers, read_traces
from flywheel.training.likeness import screen

KIND = "training_sets"
# A weight of more than this would let one rare draw decide a calibration.
MAX_WEIGHT = 20.0
PARTS: tuple[Split, ...] = ("train", "validation", "calibration")

_TURN = pa.struct([("position", pa.int32()), ("role", pa.string()), ("text", pa.string())])
_ROWS = pa.schema(
    [
        ("correction_id", pa.string()),
        ("trace_id", pa.string()),
        ("content_hash", pa.string()),
        ("app", pa.string()),
        ("session_id", pa.string()),
        ("user_id", pa.string()),
        ("split", pa.string()),
        ("perceived_error", pa.bool_()),
        ("reason_code", pa.string()),
        ("evidence_turn", pa.int32()),
        ("draw_probability", pa.float64()),
        ("source", pa.string()),
        ("decision_ids", pa.list_(pa.int64())),
        ("turns", pa.list_(_TURN)),
    ]
)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A snapshot: `name` is its artifact, `considered` the decisions that it was made from.

    `content` is the hash of its rows alone, `learnt` has the part of each decision of a label, and
    `left_out` counts, by their reason, the labels that did not enter.
    """

    name: str
    rows: dict[Split, list[LabelledConversation]]
    correction_ids: list[str]
    considered: list[str]
    content: str = ""
    learnt: Mapping[int, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_labels(self) -> int:
        """Labels that may be trained, validated or calibrated on."""
        return sum(len(rows) for rows in self.rows.values())

    @property
    def n_positives(self) -> int:
        """How many of them are perceived errors."""
        return sum(row.perceived_error for rows in self.rows.values() for row in rows)


def take_training_set(stores: Stores, levers: InputLevers, apps: Sequence[str] = ()) -> TrainingSet:
    """Freeze the labels that stand now, outside the holdout, with their conversations.

    Of these applications, or of all. Raises Leak where a session or a user stands in the holdout
    and outside it.
    """
    with stores.warehouse.read() as connection:
        labels = connection.table("training/labels_to_train_on", apps=list(apps)).to_pylist()
        considered = considered_in(connection)
        held = holdout_texts(connection, levers)
        found = read_traces(connection, [row["trace_id"] for row in labels], levers)
    turns = {
        c.trace_id: [{"position": t.position, "role": t.role, "text": t.text} for t in c.turns]
        for c in found
        if c.is_eligible
    }
    eligible = [
        row | {"turns": turns[row["trace_id"]]} for row in labels if row["trace_id"] in turns
    ]
    kept, left_out = _screened(eligible, held)
    table = pa.Table.from_pylist(kept, schema=_ROWS)
    return read_training_set(stores, store_set(stores, table, considered, left_out))


def considered_in(connection: Connection) -> list[str]:
    """The decisions behind the labels; raises Leak where a session stands in two splits."""
    if leaks := connection.rows("training/leaking_sessions"):
        raise Leak([str(row[0]) for row in leaks], ("training", "holdout"))
    return [str(row[0]) for row in connection.rows("training/decisions_considered")]


def holdout_texts(connection: Connection, levers: InputLevers) -> list[str]:
    """What was said in each labelled conversation of the holdout."""
    names = [str(row[0]) for row in connection.rows("training/holdout_traces")]
    return [text_of(found) for found in read_traces(connection, names, levers)]


def text_of(conversation: Conversation) -> str:
    """All that was said, by which conversations are compared."""
    return "\n".join(turn.text for turn in conversation.turns)


def store_set(
    stores: Stores, rows: pa.Table, considered: Sequence[str], left_out: Mapping[str, int]
) -> str:
    """Write the rows of a training set under the hash of the file; its name."""
    content = hashlib.sha256(json.dumps(rows.to_pylist(), default=str).encode()).hexdigest()
    about = {
        "considered": json.dumps(list(considered)),
        "content": content,
        "left_out": json.dumps(dict(left_out), sort_keys=True),
    }
    with stores.artifacts.new_file(KIND, ".parquet") as file:
        pq.write_table(rows.replace_schema_metadata(about), file.path, compression="zstd")
    return file.name


def read_training_set(stores: Stores, name: str) -> TrainingSet:
    """A training set as it was frozen."""
    table = pq.read_table(stores.artifacts.whole(KIND, name))
    about = table.schema.metadata or {}
    rows: dict[Split, list[LabelledConversation]] = {part: [] for part in PARTS}
    learnt: dict[int, str] = {}
    for row in table.to_pylist():
        rows[row["split"]].append(_labelled(row))
        # Sets that were frozen before lineage was kept do not name their decisions.
        learnt |= dict.fromkeys(row.get("decision_ids") or (), row["split"])
    return TrainingSet(
        name,
        rows,
        table["correction_id"].to_pylist(),
        json.loads(about[b"considered"]),
        about.get(b"content", b"").decode(),
        learnt,
        json.loads(about.get(b"left_out", b"{}")),
    )


def _screened(
    rows: list[dict[str, Any]], holdout: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The rows without those that are like others; what people said, and what measures, stays."""
    order = sorted(rows, key=lambda r: (r["source"] == "panel", -PARTS.index(r["split"])))
    texts = ["\n".join(turn["text"] for turn in row["turns"]) for row in order]
    screened = screen(texts, [row["perceived_error"] for row in order], holdout)
    kept = sorted((order[i] for i in screened.kept), key=lambda row: str(row["trace_id"]))
    return kept, screened.left_out


def _labelled(row: dict[str, Any]) -> LabelledConversation:
    turns = tuple(Turn(turn["position"], turn["role"], turn["text"]) for turn in row["turns"])
    return LabelledConversation(
        Conversation(row["trace_id"], row["content_hash"], turns, row["session_id"], row["app"]),
        row["perceived_error"],
        row["user_id"] or row["session_id"],
        min(MAX_WEIGHT, 1.0 / (row["draw_probability"] or 1.0)),
        row["reason_code"],
        row["evidence_turn"],
        # Sets that were frozen before panels were have no sources.
        row.get("source") != "panel",
    )

"""The training set: what people decided, with the conversations, frozen under a hash.

Labels and conversations in, one Parquet snapshot and `LabelledConversation` rows out. The one idea
is that a training reads the snapshot and nothing else, so that it can be done again. The holdout
never enters, and a session that stands on both sides blocks the run.
"""

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.errors import Leak
from flywheel.records import Conversation, LabelledConversation, Split, Turn
from flywheel.store import Stores
from flywheel.traces.conversations import InputLevers, read_traces

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
        ("turns", pa.list_(_TURN)),
    ]
)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A snapshot: `name` is its artifact, `considered` the decisions that it was made from."""

    name: str
    rows: dict[Split, list[LabelledConversation]]
    correction_ids: list[str]
    considered: list[str]

    @property
    def n_labels(self) -> int:
        """Labels that may be trained, validated or calibrated on."""
        return sum(len(rows) for rows in self.rows.values())

    @property
    def n_positives(self) -> int:
        """How many of them are perceived errors."""
        return sum(row.perceived_error for rows in self.rows.values() for row in rows)


def take_training_set(stores: Stores, levers: InputLevers) -> TrainingSet:
    """Freeze the labels that stand now, outside the holdout, with their conversations.

    Raises Leak where a session or a user stands in more than one split.
    """
    with stores.warehouse.open() as connection:
        labels = connection.table("training/labels_to_train_on").to_pylist()
        considered = [str(row[0]) for row in connection.rows("training/decisions_considered")]
        leaks = connection.rows("training/leaking_sessions")
        found = read_traces(connection, [row["trace_id"] for row in labels], levers)
    if leaks:
        raise Leak([str(row[0]) for row in leaks], ("training", "holdout"))
    turns = {
        c.trace_id: [{"position": t.position, "role": t.role, "text": t.text} for t in c.turns]
        for c in found
        if c.is_eligible
    }
    kept = [row | {"turns": turns[row["trace_id"]]} for row in labels if row["trace_id"] in turns]
    about = {"considered": json.dumps(considered)}
    table = pa.Table.from_pylist(kept, schema=_ROWS).replace_schema_metadata(about)
    with stores.artifacts.new_file(KIND, ".parquet") as file:
        pq.write_table(table, file.path, compression="zstd")
    return read_training_set(stores, file.name)


def read_training_set(stores: Stores, name: str) -> TrainingSet:
    """A training set as it was frozen."""
    table = pq.read_table(stores.artifacts.path(KIND, name))
    considered = json.loads((table.schema.metadata or {})[b"considered"])
    rows: dict[Split, list[LabelledConversation]] = {part: [] for part in PARTS}
    for row in table.to_pylist():
        rows[row["split"]].append(_labelled(row))
    return TrainingSet(name, rows, table["correction_id"].to_pylist(), considered)


def _labelled(row: dict[str, Any]) -> LabelledConversation:
    turns = tuple(Turn(turn["position"], turn["role"], turn["text"]) for turn in row["turns"])
    return LabelledConversation(
        Conversation(row["trace_id"], row["content_hash"], turns, row["session_id"], row["app"]),
        row["perceived_error"],
        row["user_id"] or row["session_id"],
        min(MAX_WEIGHT, 1.0 / (row["draw_probability"] or 1.0)),
        row["reason_code"],
        row["evidence_turn"],
    )

"""The training set: what people decided, with the conversations, frozen under a hash.

Labels and conversations in, one Parquet snapshot and `LabelledConversation` rows out. The holdout
never enters, and a session that stands on both sides blocks the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.errors import Leak
from flywheel.records import LabelledConversation, Split
from flywheel.store import Stores
from flywheel.traces.conversations import InputLevers, read_traces

KIND = "training_sets"
# A weight of more than this would let one rare draw decide a calibration.
MAX_WEIGHT = 20.0


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A snapshot: `name` is its artifact, `considered` names the holdout's labels as well."""

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
        considered = [str(row[0]) for row in connection.rows("training/label_ids")]
        leaks = connection.rows("training/leaking_sessions")
        conversations = {
            c.trace_id: c
            for c in read_traces(connection, [row["trace_id"] for row in labels], levers)
        }
    if leaks:
        raise Leak([str(row[0]) for row in leaks], ("training", "holdout"))
    rows: dict[Split, list[LabelledConversation]] = {
        "train": [],
        "validation": [],
        "calibration": [],
    }
    kept = []
    for label in labels:
        conversation = conversations.get(label["trace_id"])
        if conversation is None or not conversation.is_eligible:
            continue
        kept.append(
            label | {"turns": [{"role": t.role, "text": t.text} for t in conversation.turns]}
        )
        rows[label["split"]].append(
            LabelledConversation(
                conversation,
                label["perceived_error"],
                label["user_id"] or label["session_id"],
                min(MAX_WEIGHT, 1.0 / (label["draw_probability"] or 1.0)),
                label["reason_code"],
                label["evidence_turn"],
            )
        )
    return TrainingSet(
        _snapshot(stores, kept), rows, [label["correction_id"] for label in kept], considered
    )


def _snapshot(stores: Stores, rows: Sequence[dict[str, object]]) -> str:
    with stores.artifacts.new_file(KIND, ".parquet") as file:
        pq.write_table(pa.Table.from_pylist(list(rows)), file.path, compression="zstd")
    return file.name

"""Exported traces as Parquet: rows as JSON lines have them in, one file with a fixed schema out.

Row groups bound the memory: a file of any length needs no more than one of them.
"""

from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.review.export_messages import Row

_MOMENT = pa.timestamp("us", "UTC")
_CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    ]
)
_MESSAGE = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        ("tool_calls", pa.list_(_CALL)),
        ("tool_call_id", pa.string()),
        ("name", pa.string()),
    ]
)
_VOTE = pa.struct(
    [
        ("decision_id", pa.int64()),
        ("kind", pa.string()),
        ("trace_id", pa.string()),
        ("content_hash", pa.string()),
        ("reviewer", pa.string()),
        ("perceived_error", pa.bool_()),
        ("reason_code", pa.string()),
        ("reason", pa.string()),
        ("decided_at", _MOMENT),
        ("evidence_turn", pa.int32()),
        ("rubric_version", pa.string()),
        ("seconds", pa.float64()),
        ("draw_probability", pa.float64()),
        ("is_audit", pa.bool_()),
        ("corrected_turn", pa.int32()),
        ("corrected_text", pa.string()),
        ("corrected_tool_calls", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        ("trace_id", pa.string()),
        ("content_hash", pa.string()),
        ("session_id", pa.string()),
        ("app", pa.string()),
        ("day", pa.date32()),
        ("split", pa.string()),
        ("perceived_error", pa.bool_()),
        ("is_disputed", pa.bool_()),
        ("source", pa.string()),
        ("reason_code", pa.string()),
        ("reason", pa.string()),
        ("evidence_turn", pa.int32()),
        ("rubric_version", pa.string()),
        ("reviewers", pa.list_(pa.string())),
        ("decided_at", _MOMENT),
        ("correction_id", pa.string()),
        ("decisions", pa.list_(_VOTE)),
        ("messages", pa.list_(_MESSAGE)),
    ]
)


def write_parquet(path: Path, rows: Iterable[Row], group_rows: int, group_characters: int) -> None:
    """Write the rows; a group of the file has at most so many rows or characters of messages."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as file:
        group: list[Row] = []
        n_characters = 0
        for row in rows:
            group.append(_typed(row))
            n_characters += _characters(row)
            if len(group) >= group_rows or n_characters >= group_characters:
                file.write_table(pa.Table.from_pylist(group, SCHEMA))
                group, n_characters = [], 0
        if group:
            file.write_table(pa.Table.from_pylist(group, SCHEMA))


def _typed(row: Row) -> Row:
    """The row with days and moments in place of their texts."""
    votes = row["decisions"]
    assert isinstance(votes, list)
    return row | {
        "day": date.fromisoformat(str(row["day"])),
        "decided_at": datetime.fromisoformat(str(row["decided_at"])),
        "decisions": [
            vote | {"decided_at": datetime.fromisoformat(vote["decided_at"])} for vote in votes
        ],
    }


def _characters(row: Row) -> int:
    messages = row["messages"]
    assert isinstance(messages, list)
    return sum(len(message["content"]) for message in messages)

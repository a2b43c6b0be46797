"""Decisions from a file, such as another tool's export: JSON lines in, rows of the ledger out.

A line is one decision, or a trace of our own export with all of its decisions. Each is known again
by the hash of what it says, so that a file can be imported twice; what cannot be used is named with
its line, and never stops the rest.
"""

import hashlib
import json
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import sqlalchemy as sa
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from flywheel.errors import BadInput
from flywheel.records import ONLY_WITH_ERROR, Decision, ReasonCode
from flywheel.review.rows import append
from flywheel.review.standing import Word
from flywheel.review.tool_calls import in_openai_shape
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.tables import decisions
from flywheel.traces.importing import RejectedRow

# Decisions of a file between two commits: what a kill may leave for the next import.
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class DecisionImport:
    """What became of the decisions of a file; a line that cannot be read counts as one."""

    read: int
    new: int
    duplicate: int
    rejected: list[RejectedRow]


def import_decisions(stores: Stores, path: Path) -> DecisionImport:
    """Append the decisions of a JSON lines file; the same row a second time adds nothing.

    A row without `content_hash` speaks of the trace's current version. Rows that cannot be used are
    left out and named. Raises BadInput where the file does not exist.
    """
    if not path.is_file():
        raise BadInput(f"{path} is no file; expected JSON lines with trace_id and perceived_error")
    rows, unread = _read(path)
    made, unusable = _checked(stores, path, rows)
    new = sum(
        _append_new(stores.ledger, path, made[start : start + BATCH])
        for start in range(0, len(made), BATCH)
    )
    rejected = sorted(unread + unusable, key=lambda row: row.line)
    return DecisionImport(len(rows) + len(unread), new, len(made) - new, rejected)


def _without_nul(text: str) -> str:
    # Postgres has no text with a NUL in it.
    return text.replace("\0", "\ufffd")


def _tool_calls(said: object) -> str:
    """The list, or its JSON text as an export has it, in OpenAI's shape."""
    try:
        return in_openai_shape(said if isinstance(said, str) else json.dumps(said))
    except BadInput as error:
        raise ValueError(str(error)) from error


_Text = Annotated[str, AfterValidator(_without_nul)]
_Name = Annotated[str, Field(min_length=1), AfterValidator(_without_nul)]
_Position = Annotated[int, Field(ge=0, lt=2**31)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    trace_id: _Name
    perceived_error: bool
    reviewer: _Name
    kind: Word = "decide"
    content_hash: Annotated[_Name, Field(max_length=64)] | None = None
    reason_code: ReasonCode = "none"
    reason: _Text = ""
    evidence_turn: _Position | None = None
    corrected_turn: _Position | None = None
    corrected_text: _Text | None = None
    corrected_tool_calls: Annotated[_Text, BeforeValidator(_tool_calls)] | None = None
    rubric_version: Annotated[_Name, Field(max_length=40)] = "1"
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    decided_at: datetime | None = None
    is_audit: bool = False
    draw_probability: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, said: object) -> object:
        if not isinstance(said, dict):
            return said
        return {name: value for name, value in said.items() if value is not None}

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "_Row":
        if not self.perceived_error and self.reason_code in ONLY_WITH_ERROR:
            raise ValueError(
                f"reason_code {self.reason_code!r} is one of an error, and perceived_error is false"
            )
        has_correction = self.corrected_text is not None or self.corrected_tool_calls is not None
        if (self.corrected_turn is not None) != has_correction:
            raise ValueError(
                "corrected_turn comes together with corrected_text, corrected_tool_calls or both"
            )
        return self

    def import_key(self) -> str:
        """SHA-256 of what the row says, whatever the order of its keys."""
        said = self.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def decision(self, content_hash: str) -> Decision:
        said = self.model_dump(exclude={"content_hash", "decided_at", "kind"})
        return Decision(content_hash=content_hash, decided_at=self.decided_at or now(), **said)


class _Exported(BaseModel):
    """A line of our own export, whose votes carry the same keys."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    decisions: list[_Row] | None = None


_Numbered = tuple[int, _Row]
# A decision, its import key, and whether it settles the trace.
_Made = tuple[Decision, str, Word]


def _read(path: Path) -> tuple[list[_Numbered], list[RejectedRow]]:
    rows, rejected = [], []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                rows += [(number, row) for row in _rows_of(line.removeprefix(BOM_UTF8))]
            except ValidationError as error:
                rejected.append(RejectedRow(str(path), number, _first_fault(error)))
    return rows, rejected


def _rows_of(line: bytes) -> list[_Row]:
    if b'"decisions"' in line:
        exported = _Exported.model_validate_json(line).decisions
        if exported is not None:
            return exported
    return [_Row.model_validate_json(line)]


def _first_fault(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    if not where or first["type"] == "missing":
        return f"{where}: {what}".removeprefix(": ")
    return f"{where}: {what}; got {first['input']!r:.80}"


def _checked(
    stores: Stores, path: Path, rows: Sequence[_Numbered]
) -> tuple[list[_Made], list[RejectedRow]]:
    """The rows as decisions on versions of traces that the warehouse has, with their keys."""
    wanted = pa.table(
        {
            # Not the line's own number, which the decisions of one trace share.
            "line": pa.array(range(len(rows)), pa.int64()),
            "trace_id": pa.array([row.trace_id for _, row in rows], pa.string()),
            "content_hash": pa.array([row.content_hash for _, row in rows], pa.string()),
            "corrected_turn": pa.array([row.corrected_turn for _, row in rows], pa.int64()),
        }
    )
    with stores.warehouse.read() as connection, connection.given(wanted=wanted):
        versions = connection.table("review/versions_decided_on").to_pylist()
    made, rejected = [], []
    for (line, row), version in zip(rows, versions, strict=True):
        why = _why_unusable(row, version)
        if why is None:
            made.append((row.decision(version["content_hash"]), row.import_key(), row.kind))
        else:
            rejected.append(RejectedRow(str(path), line, why))
    return made, rejected


def _why_unusable(row: _Row, version: Mapping[str, Any]) -> str | None:
    if not version["is_known"]:
        return f"trace {row.trace_id!r} is not in the warehouse; import the traces first"
    if version["content_hash"] is None:
        return f"trace {row.trace_id!r} never had the content {row.content_hash!r}"
    if row.evidence_turn is not None and row.evidence_turn >= version["n_messages"]:
        return f"evidence_turn {row.evidence_turn} is after the last message of the trace"
    if row.corrected_turn is not None and version["corrected_role"] != "assistant":
        role = version["corrected_role"]
        what = f"a message of {role!r}" if role else "after the last message"
        return f"corrected_turn {row.corrected_turn} is {what}; it must be the assistant's"
    return None


def _append_new(ledger: Ledger, path: Path, made: Sequence[_Made]) -> int:
    """Append one batch in one transaction, without what was imported before; how many are new."""
    by_key = {row[1]: row for row in reversed(made)}
    with ledger.begin() as connection:
        present = connection.scalars(
            sa.select(decisions.c.import_key).where(decisions.c.import_key.in_(list(by_key)))
        )
        for import_key in present.all():
            del by_key[str(import_key)]
        fresh = list(reversed(by_key.values()))
        if fresh:
            for kind, of_kind in groupby(fresh, lambda row: row[2]):
                append(connection, [(decision, key) for decision, key, _ in of_kind], kind)
            reviewers = sorted({decision.reviewer for decision, _, _ in fresh})
            record_action(
                connection,
                "import",
                "import_decisions",
                path.name,
                decisions=len(fresh),
                reviewers=reviewers,
            )
    return len(fresh)

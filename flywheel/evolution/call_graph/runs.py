"""Traces as runs: their steps, and what is said of how they ended.

Traces of some days in, `Run`s out, a page of traces at a time. The one idea is that a label goes
before a verdict, and that either says whether a trace failed and, where it can, at which step.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from flywheel.store import Stores
from flywheel.traces.steps import (
    Row,
    Step,
    node_key,
    read_step_rows,
    step_that_said,
    steps_of_messages,
    steps_of_spans,
)

# Traces whose texts are in memory at once.
_PAGE = 500
_TOLD_OF_TOOLS = re.compile(r"(?:^|[._])tools?(?:[._]definitions|[._]\d+[._a-z]*)?$")


@dataclass(frozen=True, slots=True)
class Run:
    """One trace as steps in the order in which they began.

    `failed` is what a label, or else the verdict in force (`told_by`), says of the trace; `blamed`
    is the place of the step at which they see the error, None where they name none. `declared` are
    the tools that a model was told of. `is_eligible`: whether a judge may read it.
    """

    app: str
    trace_id: str
    session: str
    steps: tuple[Step, ...]
    failed: bool | None = None
    told_by: Literal["label", "verdict"] | None = None
    blamed: int | None = None
    declared: frozenset[str] = frozenset()
    content_hash: str = ""
    is_eligible: bool = False

    @property
    def without_texts(self) -> "Run":
        """The same, for who holds many and reads none."""
        return replace(self, steps=tuple(replace(step, text="") for step in self.steps))


def read_runs(
    stores: Stores,
    first_day: date,
    last_day: date,
    most: int,
    app: str | None = None,
    *,
    only_marked: bool = False,
) -> Iterator[Run]:
    """Current traces of these days as runs, `most` of them drawn by a hash of their ids.

    With `only_marked`, those of them in which a person marked where the error is.
    """
    asked = {"first_day": first_day, "last_day": last_day, "app": app, "most": most}
    with stores.warehouse.read() as connection:
        traces = connection.table("evolution/graph_traces", **asked)
    if only_marked:
        is_marked = pc.and_(
            pc.is_valid(traces["error_position"]), pc.equal(traces["told_by"], "label")
        )
        traces = traces.filter(is_marked)
    for start in range(0, traces.num_rows, _PAGE):
        yield from _runs_of(stores, traces.slice(start, _PAGE))


def _runs_of(stores: Stores, traces: pa.Table) -> Iterator[Run]:
    with stores.warehouse.read() as connection:
        parts = read_step_rows(connection, traces)
    for row in traces.to_pylist():
        of_it = parts.get(row["trace_id"], [])
        read = steps_of_spans if row["has_spans"] else steps_of_messages
        run = Run(
            app=row["app"],
            trace_id=row["trace_id"],
            session=row["session"],
            steps=tuple(read(of_it)),
            failed=row["failed"],
            told_by=row["told_by"],
            declared=_declared(row, of_it),
            content_hash=row["content_hash"],
            is_eligible=row["is_eligible"],
        )
        at = row["error_position"]
        if run.failed and at is not None:
            run = replace(run, blamed=step_that_said(run.steps, at, row["error_text"]))
        yield run


def _declared(row: Row, of_it: Sequence[Row]) -> frozenset[str]:
    """Names of the tools that the trace, or a span of it, says a model was told of."""
    names = _tool_names(row["declared"])
    seen: set[str] = set()
    for text in (one.get("declared") for one in of_it):
        if text and text not in seen:
            seen.add(text)
            try:
                metadata = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(metadata, dict):
                told = [v for k, v in metadata.items() if _TOLD_OF_TOOLS.search(k)]
                names |= {name for value in told for name in _tool_names(value)}
    return frozenset(node_key("tool", name).name for name in names)


def _tool_names(value: object) -> set[str]:
    """Names in a schema, a list of schemas, or JSON of either."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return set()
    found = set()
    for one in value if isinstance(value, list) else [value]:
        one = _object_in(one)
        function = one.get("function")
        name = (function if isinstance(function, dict) else one).get("name")
        if isinstance(name, str) and name:
            found.add(name)
    return found


def _object_in(value: object) -> dict[str, Any]:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}

"""Judged traces for tests of the stages after the judge, put straight into the warehouse."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

import pyarrow as pa

from flywheel.records import Decision
from flywheel.store import Stores
from flywheel.store.snapshots import current_run, replace_rows

DAY = date(2026, 3, 2)
JUDGE = "judge-1"


def add_traces(
    stores: Stores, traces: Iterable[Mapping[str, object]], day: date = DAY, version: str = "v1"
) -> None:
    """Load traces of the project's own format; their content hash is `version`-<trace_id>."""
    rows, messages = [], []
    for trace in traces:
        trace_id = trace["trace_id"]
        own = {"day": day, "trace_id": trace_id, "content_hash": f"{version}-{trace_id}"}
        turns = trace["messages"]
        assert isinstance(turns, list)
        rows.append(
            own
            | {name: trace.get(name) for name in ("app", "session_id", "user_id", "release")}
            | {"is_current": True, "is_eligible": len(turns) > 2, "n_messages": len(turns)}
            | {"started_at_source": "given", "import_id": 1, "line_no": len(rows) + 1}
        )
        # Arrow takes the columns from the first row.
        blank = dict.fromkeys(("tool_calls", "tool_call_id", "name"))
        messages += [own | {"position": i} | blank | turn for i, turn in enumerate(turns)]
    with stores.warehouse.open() as connection, connection.transaction():
        connection.raw.execute(
            "update traces set is_current = false where trace_id in (select unnest($ids))",
            {"ids": [row["trace_id"] for row in rows]},
        )
        for name, of_table in (("traces", rows), ("messages", messages)):
            with connection.given(new_rows=pa.Table.from_pylist(of_table)):
                connection.raw.execute(f"insert into {name} by name select * from new_rows")


def add_scores(
    stores: Stores,
    probabilities: Mapping[str, float | None],
    day: date = DAY,
    judge: str = JUDGE,
    version: str = "v1",
) -> None:
    """Verdicts of a judge on traces, in place of those that it gave the day before this."""
    key = {
        "day": day,
        "metric": "perceived_error",
        "metric_version": "1",
        "judge_version": judge,
    }
    scores = [
        key
        | {"trace_id": trace_id, "content_hash": f"{version}-{trace_id}", "kind": "llm"}
        | {"probability": p, "value": p, "tier": "lexical", "reason": f"because of {trace_id}"}
        for trace_id, p in probabilities.items()
    ]
    counts = {"attempted": len(scores), "scored": len(scores), "skipped": "{}", "failed": "{}"}
    run = key | {"tier": "lexical"} | counts | {"scored_at": datetime.now(UTC).replace(tzinfo=None)}
    with stores.warehouse.open() as connection, connection.transaction():
        replace_rows(connection, "scores", key, pa.Table.from_pylist(scores))
        replace_rows(connection, "score_runs", key, pa.Table.from_pylist([run]))
        judge = str(key["judge_version"]).split("/")[0]
        version = str(key["metric_version"])
        in_force = current_run(key["day"], str(key["metric"]), version, judge)
        replace_rows(connection, "current_runs", *in_force)


def said(
    trace_id: str, perceived_error: bool, reviewer: str = "ann", version: str = "v1", **more: object
) -> Decision:
    """A decision on a trace, with the least that it needs."""
    code = "correction" if perceived_error else "none"
    given = {"reason_code": code, "reason": "", "decided_at": datetime.now(UTC)} | more
    return Decision(trace_id, f"{version}-{trace_id}", reviewer, perceived_error, **given)

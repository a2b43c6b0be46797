"""Verdicts as rows of `scores`: columns, a piece at a time, and the row of the run that made them.

Verdicts in, Arrow tables and a partition of the warehouse out. The one idea is that a day's rows
are held as columns alone: what a page of traces becomes is let go of with its page.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from flywheel.judge.judge import METRIC, METRIC_VERSION
from flywheel.judge.prompted import Unjudged
from flywheel.records import Conversation, Tier, Verdict
from flywheel.safety import quote
from flywheel.store import Stores
from flywheel.store.snapshots import Parts, current_run, write_partitions

UNPARSED = "unparsed"

# What differs from row to row; the rest is of the run.
_PIECE = pa.schema(
    [
        ("trace_id", pa.string()),
        ("content_hash", pa.string()),
        ("label", pa.string()),
        ("reason", pa.string()),
        ("reason_code", pa.string()),
        ("evidence_turn", pa.int32()),
        ("probability", pa.float64()),
        ("logit", pa.float64()),
        ("few_shot_ids", pa.list_(pa.string())),
        ("is_decided", pa.bool_()),
        ("cost_usd", pa.float64()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("latency_ms", pa.float64()),
    ]
)


@dataclass(slots=True)
class TierRows:
    """What one tier said of a day, as it comes in; `scored` + `skipped` + `failed` are all traces.

    `cost_usd` is of every row, and of what was paid for without one; where opinions are made anew
    each time, it is measured for all of them together, and shared (`is_cost_shared`).
    """

    tier: Tier
    is_cost_shared: bool = False
    pieces: list[pa.Table] = field(default_factory=list)
    scored: int = 0
    decided: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    cost_usd: float = 0.0

    @property
    def table(self) -> pa.Table:
        """What has come in, a row a trace."""
        return pa.concat_tables([_PIECE.empty_table(), *self.pieces])

    def add(self, verdicts: Sequence[Verdict]) -> None:
        """Take in verdicts."""
        self.scored += len(verdicts)
        self.decided += sum(v.is_decided is True for v in verdicts)
        self.cost_usd += sum(v.cost_usd for v in verdicts)
        columns = {
            "label": [str(v.perceived_error).lower() for v in verdicts],
            "few_shot_ids": [list(v.few_shot_ids) for v in verdicts],
        }
        self.pieces.append(
            pa.table(
                [
                    pa.array(columns.get(f.name) or [getattr(v, f.name) for v in verdicts], f.type)
                    for f in _PIECE
                ],
                schema=_PIECE,
            )
        )

    def add_unjudged(
        self, conversation: Conversation, why: Unjudged, few_shot_ids: Sequence[str]
    ) -> None:
        """Count a trace that has no opinion; a reply that could not be read is a row as well."""
        counts = self.skipped if why.kind == "budget" else self.failed
        counts[why.kind] = counts.get(why.kind, 0) + 1
        self.cost_usd += why.cost_usd
        if why.kind != UNPARSED:
            return
        row = {
            "trace_id": conversation.trace_id,
            "content_hash": conversation.content_hash,
            "label": UNPARSED,
            "reason": quote(why.why),
            "few_shot_ids": list(few_shot_ids),
            "cost_usd": why.cost_usd,
            "prompt_tokens": why.prompt_tokens,
            "completion_tokens": why.completion_tokens,
        }
        self.pieces.append(pa.Table.from_pylist([row], schema=_PIECE))

    def skip(self, counts: Mapping[str, int]) -> None:
        """Count traces that the tier does not read, by why; those of none are left out."""
        for why, n in counts.items():
            if n:
                self.skipped[why] = self.skipped.get(why, 0) + n


@dataclass(frozen=True, slots=True)
class DayRun:
    """What one judge made of its part of a day: its version, without a tier, and each tier's rows.

    `attempted` are the traces of that part.
    """

    version: str
    attempted: int
    tiers: Sequence[TierRows]


def write_runs(
    stores: Stores, day: date, runs: Sequence[DayRun], index_version: str | None
) -> None:
    """Replace the rows of this day and these versions, and put them in force, all at once.

    A day that is scored again by the same versions keeps its time, and a shared cost is what it was
    the first time.
    """
    many: list[Parts] = [
        _parts(stores, day, run, rows, index_version) for run in runs for rows in run.tiers
    ]
    in_force = current_run(day, METRIC, METRIC_VERSION, *(run.version for run in runs))
    write_partitions(stores, [*many, {"current_runs": in_force}])


def _parts(
    stores: Stores, day: date, run: DayRun, rows: TierRows, index_version: str | None
) -> Parts:
    """A tier's rows, and the row of its run."""
    key: dict[str, object] = {
        "day": day,
        "metric": METRIC,
        "metric_version": METRIC_VERSION,
        "judge_version": f"{run.version}/{rows.tier}",
    }
    with stores.warehouse.read() as connection:
        earlier = connection.run("judge/scored_at", **key).fetchone()
    scored_at, scored_before, cost_before = earlier or (None, 0, None)
    if rows.is_cost_shared and scored_before and cost_before is not None:
        rows.cost_usd = cost_before * (rows.scored / scored_before)
    run_row = key | {
        "tier": rows.tier,
        "attempted": run.attempted,
        "scored": rows.scored,
        "skipped": json.dumps(rows.skipped, sort_keys=True),
        "failed": json.dumps(rows.failed, sort_keys=True),
        "scored_at": scored_at or datetime.now(UTC).replace(tzinfo=None),
        "cost_usd": rows.cost_usd,
    }
    return {
        "scores": (key, _table(key, rows, index_version)),
        "score_runs": (key, pa.Table.from_pylist([run_row])),
    }


def _table(key: Mapping[str, object], rows: TierRows, index_version: str | None) -> pa.Table:
    table = rows.table
    has_examples = pc.greater(pc.list_value_length(table["few_shot_ids"]), 0)
    version = pa.scalar(index_version, pa.string())
    same = {name: pa.scalar(value) for name, value in key.items()}
    same |= {"kind": pa.scalar("llm"), "tier": pa.scalar(rows.tier)}
    for name, value in same.items():
        table = table.append_column(name, pa.repeat(value, len(table)))
    if rows.is_cost_shared and rows.scored:
        share = pa.repeat(pa.scalar(rows.cost_usd / rows.scored), len(table))
        table = table.set_column(table.schema.get_field_index("cost_usd"), "cost_usd", share)
    table = table.append_column("value", table["probability"])
    shown = pc.if_else(has_examples, version, pa.scalar(None, pa.string()))
    return table.append_column("index_version", shown)

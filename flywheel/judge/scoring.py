"""A day of traces through the judge: lexical on every eligible one, the best tier on the sample.

Conversations and few-shot rows in, `scores` and `score_runs` out. What took time is kept in the
ledger's verdict cache as soon as it is known, so that a run that was killed pays nothing twice.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime

import pyarrow as pa
import sqlalchemy as sa

from flywheel.judge.judge import METRIC, METRIC_VERSION, Examples, Judge, Opinion
from flywheel.records import Conversation, Tier, Verdict
from flywheel.store import Stores
from flywheel.store.ledger import now
from flywheel.store.snapshots import current_run, write_partition
from flywheel.store.tables import verdict_cache
from flywheel.traces.conversations import read_day

# Conversations between two commits to the verdict cache: what a kill may cost.
CHUNK = 64
# Bound variables of one statement; SQLite allows 32,766.
_IN_LIMIT = 10_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """What the judge did with one day, and the day's conversations that it could not judge."""

    day: date
    judge_version: str
    tier: Tier
    attempted: int
    scored: dict[Tier, int]
    skipped: dict[str, int]
    from_cache: int
    flagged: int


def no_progress(done: int, total: int) -> None:
    """Nobody is watching."""


def score_day(
    stores: Stores, judge: Judge, day: date, progress: Progress = no_progress
) -> JudgeReport:
    """Score the day's traces with each tier of the judge that reads them.

    Replaces only the rows of this day and this judge's version; other versions' rows stay. The
    warehouse is open to read the day and to write it, and closed while the models work.
    """
    read = _read(stores, judge, day)
    first, best = next(iter(judge.models)), judge.best
    verdicts: dict[Tier, list[Verdict]] = {
        first: judge.verdicts(read.eligible, judge.opinions(read.eligible, first), first)
    }
    from_cache = 0
    if best != first:
        opinions, from_cache = _opinions_through_cache(stores, judge, best, read.sampled, progress)
        verdicts[best] = judge.verdicts(read.sampled, opinions, best, read.examples)
    for tier, given in verdicts.items():
        _write(stores, judge, tier, read, given)
    return JudgeReport(
        day,
        judge.version,
        best,
        read.attempted,
        {tier: len(given) for tier, given in verdicts.items()},
        read.skipped,
        from_cache,
        sum(v.perceived_error for v in verdicts[best]),
    )


@dataclass(frozen=True, slots=True)
class _Day:
    """A day as it was read: how many traces it has, those to judge, and what retrieval gave them.

    `sampled` are those of `eligible` that were drawn for the expensive tiers.
    """

    day: date
    attempted: int
    eligible: list[Conversation]
    sampled: list[Conversation]
    examples: dict[str, Examples]
    index_version: str | None

    @property
    def skipped(self) -> dict[str, int]:
        """Traces that no tier judges, and why."""
        n = self.attempted - len(self.eligible)
        return {"not eligible: no user turn after an answer": n} if n else {}

    @property
    def unsampled(self) -> dict[str, int]:
        """Traces that the first tier alone judges, and why."""
        return {"not in the sample": len(self.eligible) - len(self.sampled)}


def _read(stores: Stores, judge: Judge, day: date) -> _Day:
    with stores.warehouse.open() as connection:
        conversations = read_day(connection, day, judge.levers)
        drawn = {str(row[0]) for row in connection.rows("judge/sampled_of_day", day=day)}
        shown = connection.run("judge/examples_of_day", day=day).fetchall()
        index_versions = connection.rows("judge/index_versions_of_day", day=day)
    eligible = [c for c in conversations if c.is_eligible]
    return _Day(
        day,
        len(conversations),
        eligible,
        [c for c in eligible if c.trace_id in drawn],
        {trace_id: Examples(leaning, tuple(ids)) for trace_id, leaning, ids in shown},
        str(index_versions[0][0]) if index_versions else None,
    )


def _opinions_through_cache(
    stores: Stores,
    judge: Judge,
    tier: Tier,
    conversations: Sequence[Conversation],
    progress: Progress,
) -> tuple[list[Opinion | None], int]:
    version = judge.models[tier].version
    hashes = [_input_hash(c) for c in conversations]
    known = _read_cache(stores, version, hashes)
    # Like lengths together, so that little of a batch is padding.
    missing = sorted(
        (i for i, h in enumerate(hashes) if h not in known),
        key=lambda i: sum(len(t.text) for t in conversations[i].turns),
    )
    for start in range(0, len(missing), CHUNK):
        rows = missing[start : start + CHUNK]
        began = time.perf_counter()
        opinions = judge.opinions([conversations[i] for i in rows], tier)
        each_ms = (time.perf_counter() - began) * 1000 / len(rows)
        fresh = {hashes[i]: o for i, o in zip(rows, opinions, strict=True) if o is not None}
        _add_to_cache(stores, version, fresh, each_ms)
        known |= fresh
        progress(start + len(rows), len(missing))
    return [known.get(h) for h in hashes], len(conversations) - len(missing)


def _input_hash(conversation: Conversation) -> str:
    digest = hashlib.sha256()
    for turn in conversation.turns:
        digest.update(
            f"{turn.position}\x1f{turn.role}\x1f{turn.text}\x1e".encode("utf-8", "replace")
        )
    return digest.hexdigest()


def _read_cache(stores: Stores, version: str, hashes: Sequence[str]) -> dict[str, Opinion]:
    known: dict[str, Opinion] = {}
    with stores.ledger.begin() as ledger:
        for start in range(0, len(hashes), _IN_LIMIT):
            part = hashes[start : start + _IN_LIMIT]
            rows = ledger.execute(
                sa.select(verdict_cache.c.input_hash, verdict_cache.c.verdict).where(
                    verdict_cache.c.judge_version == version,
                    verdict_cache.c.few_shot_key == "",
                    verdict_cache.c.input_hash.in_(part),
                )
            )
            known |= {input_hash: Opinion(**json.loads(text)) for input_hash, text in rows}
    return known


def _add_to_cache(
    stores: Stores, version: str, opinions: dict[str, Opinion], latency_ms: float
) -> None:
    if not opinions:
        return
    with stores.ledger.begin() as ledger:
        # Another run may have judged the same text meanwhile; its opinion is the same.
        present = set(
            ledger.scalars(
                sa.select(verdict_cache.c.input_hash).where(
                    verdict_cache.c.judge_version == version,
                    verdict_cache.c.few_shot_key == "",
                    verdict_cache.c.input_hash.in_(list(opinions)),
                )
            )
        )
        rows = [
            {
                "input_hash": input_hash,
                "judge_version": version,
                # Opinions do not depend on few-shots; a prompted judge's would.
                "few_shot_key": "",
                "verdict": json.dumps(asdict(opinion)),
                "latency_ms": latency_ms,
                "cost_usd": 0.0,
                "judged_at": now(),
            }
            for input_hash, opinion in opinions.items()
            if input_hash not in present
        ]
        if rows:
            ledger.execute(verdict_cache.insert(), rows)


def _write(
    stores: Stores, judge: Judge, tier: Tier, read: _Day, verdicts: Sequence[Verdict]
) -> None:
    is_first = tier == next(iter(judge.models))
    skipped = read.skipped | ({} if is_first else read.unsampled)
    key = {
        "day": read.day,
        "metric": METRIC,
        "metric_version": METRIC_VERSION,
        "judge_version": judge.tier_version(tier),
    }
    with stores.warehouse.open() as connection:
        earlier = connection.rows("judge/scored_at", **key)
    scored_at = earlier[0][0] if earlier else datetime.now(UTC).replace(tzinfo=None)
    run = key | {
        "tier": tier,
        "attempted": read.attempted,
        "scored": len(verdicts),
        "skipped": json.dumps(skipped, sort_keys=True),
        "failed": "{}",
        "scored_at": scored_at,
    }
    write_partition(
        stores,
        {
            "scores": (key, _score_rows(key, verdicts, read.index_version)),
            "score_runs": (key, pa.Table.from_pylist([run])),
            "current_runs": current_run(read.day, METRIC, METRIC_VERSION, judge.version),
        },
    )


def _score_rows(
    key: dict[str, object], verdicts: Sequence[Verdict], index_version: str | None
) -> pa.Table:
    n = len(verdicts)
    columns: dict[str, pa.Array] = {
        "day": pa.array([key["day"]] * n, pa.date32()),
        "trace_id": pa.array([v.trace_id for v in verdicts], pa.string()),
        "content_hash": pa.array([v.content_hash for v in verdicts], pa.string()),
        "metric": pa.array([key["metric"]] * n, pa.string()),
        "metric_version": pa.array([key["metric_version"]] * n, pa.string()),
        "judge_version": pa.array([key["judge_version"]] * n, pa.string()),
        "kind": pa.array(["llm"] * n, pa.string()),
        "value": pa.array([v.probability for v in verdicts], pa.float64()),
        "label": pa.array([str(v.perceived_error).lower() for v in verdicts], pa.string()),
        "reason": pa.array([v.reason for v in verdicts], pa.string()),
        "reason_code": pa.array([v.reason_code for v in verdicts], pa.string()),
        "evidence_turn": pa.array([v.evidence_turn for v in verdicts], pa.int32()),
        "probability": pa.array([v.probability for v in verdicts], pa.float64()),
        "logit": pa.array([v.logit for v in verdicts], pa.float64()),
        "tier": pa.array([v.tier for v in verdicts], pa.string()),
        "few_shot_ids": pa.array([list(v.few_shot_ids) for v in verdicts], pa.list_(pa.string())),
        "index_version": pa.array(
            [index_version if v.few_shot_ids else None for v in verdicts], pa.string()
        ),
        "cost_usd": pa.array([0.0] * n, pa.float64()),
    }
    return pa.table(columns)

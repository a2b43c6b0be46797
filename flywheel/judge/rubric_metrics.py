"""A day of sampled traces under the project's own rubrics: yes or no, with the judge's reason.

Conversations and rubric files in, `scores` and `score_runs` out; the one idea is that a rubric is
the whole of a judge: the model that it is put to is one of `[judges.NAME]`, and knows nothing else.
What was paid for is kept in the verdict cache before the next trace is read.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import pyarrow as pa

from flywheel.errors import NeverWill
from flywheel.judge.cache import Progress, VerdictCache, generative_opinions
from flywheel.judge.calibration import Calibration
from flywheel.judge.judge import Opinion
from flywheel.judge.prompted import PromptedJudge, Unjudged
from flywheel.judge.rubric import Rubric
from flywheel.judge.scoring import no_progress
from flywheel.metrics.rubric_files import RubricMetric
from flywheel.records import Conversation, PartitionReport
from flywheel.safety import quote
from flywheel.store import Stores
from flywheel.store.snapshots import current_run, write_partition
from flywheel.traces.conversations import InputLevers, read_traces

# The judge of a name among [judges.NAME], "" for the project's own; None where there is none.
JudgeNamed = Callable[[str], PromptedJudge | None]

UNPARSED = "unparsed"
NO_JUDGE = (
    "no judge reads it: set judge.generative to one of [judges.NAME], or name one in its file"
)
_ROW = pa.schema(
    [
        ("day", pa.date32()),
        *((name, pa.string()) for name in ("metric", "metric_version", "judge_version")),
        *((name, pa.string()) for name in ("trace_id", "content_hash", "kind", "tier")),
        *((name, pa.string()) for name in ("label", "reason")),
        ("evidence_turn", pa.int32()),
        *((name, pa.float64()) for name in ("value", "probability", "logit")),
        *((name, pa.float64()) for name in ("cost_usd", "latency_ms")),
        *((name, pa.int64()) for name in ("prompt_tokens", "completion_tokens")),
    ]
)


@dataclass(frozen=True, slots=True)
class RubricReport(PartitionReport):
    """What a rubric said of one day, and what that cost, the verdicts of before included."""

    metric: str
    flagged: int = 0
    from_cache: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class _Day:
    """A day as it was read: its counts, and the first of the sampled conversations, in order."""

    day: date
    n_traces: int
    n_eligible: int
    n_sampled: int
    conversations: list[Conversation]


def score_day_by_rubrics(
    stores: Stores,
    metrics: Iterable[RubricMetric],
    judge_named: JudgeNamed,
    levers: InputLevers,
    day: date,
    limit: int,
    progress: Progress = no_progress,
) -> list[RubricReport]:
    """Put the day's sampled traces to each rubric; one report a rubric, in their order.

    Each reads the first `sample` of the sample by a hash of the trace id, `limit` where its file
    says nothing, so that a smaller number reads a part of what a larger one reads. Replaces only
    the rows of this day and these versions. A rubric whose judge does not exist has failed for
    every trace, and the others go on.
    """
    metrics = list(metrics)
    if not metrics:
        return []
    most = max(_most(metric, limit) for metric in metrics)
    read = _read(stores, levers, day, most)
    return [_score(stores, metric, judge_named, read, limit, progress) for metric in metrics]


def judge_under(metric: RubricMetric, judge: PromptedJudge) -> PromptedJudge:
    """The same model under this rubric; what people decided on errors says nothing of it."""
    rubric = Rubric(metric.version, metric.rubric, metric.name)
    return replace(judge, rubric=rubric, few_shots=0, calibration=Calibration(), thresholds=None)


def _most(metric: RubricMetric, limit: int) -> int:
    return limit if metric.sample is None else metric.sample


def _read(stores: Stores, levers: InputLevers, day: date, most: int) -> _Day:
    with stores.warehouse.read() as connection:
        (counts,) = connection.run("traces/counts_of_day", day=day).fetchall()
        # In one order for all rubrics, so that they can be compared on the same traces.
        sampled = [str(row[0]) for row in connection.rows("judge/rubric_traces", day=day)]
        found = {c.trace_id: c for c in read_traces(connection, sampled[:most], levers)}
    conversations = [found[trace_id] for trace_id in sampled[:most]]
    return _Day(day, counts[0], counts[1], len(sampled), conversations)


def _score(
    stores: Stores,
    metric: RubricMetric,
    judge_named: JudgeNamed,
    read: _Day,
    limit: int,
    progress: Progress,
) -> RubricReport:
    try:
        named = judge_named(metric.judge)
    except NeverWill as error:
        return _without_judge(stores, metric, read, failed={str(error): read.n_traces})
    if named is None:
        return _without_judge(stores, metric, read, skipped={NO_JUDGE: read.n_traces})
    judge = judge_under(metric, named)
    most = _most(metric, limit)
    chosen = read.conversations[:most]
    given, from_cache = generative_opinions(
        VerdictCache(stores.ledger), judge, chosen, [()] * len(chosen), progress
    )
    skipped = {
        "not eligible: no user turn after an answer": read.n_traces - read.n_eligible,
        "not in the sample": read.n_eligible - read.n_sampled,
        f"beyond {most} traces a day": read.n_sampled - len(chosen),
        "budget": sum(isinstance(o, Unjudged) and o.kind == "budget" for o in given),
    }
    failed = Counter(o.kind for o in given if isinstance(o, Unjudged) and o.kind != "budget")
    pairs = [(c, o) for c, o in zip(chosen, given, strict=True) if isinstance(o, Opinion)]
    report = RubricReport(
        day=read.day,
        attempted=read.n_traces,
        done=len(pairs),
        skipped={why: n for why, n in skipped.items() if n},
        failed=dict(sorted(failed.items())),
        metric=metric.name,
        flagged=sum(opinion.logit > 0 for _, opinion in pairs),
        from_cache=from_cache,
        cost_usd=sum(opinion.cost_usd for opinion in given),
    )
    _write(stores, metric, judge.version, list(zip(chosen, given, strict=True)), report)
    return report


def _without_judge(
    stores: Stores,
    metric: RubricMetric,
    read: _Day,
    skipped: dict[str, int] | None = None,
    failed: dict[str, int] | None = None,
) -> RubricReport:
    report = RubricReport(read.day, read.n_traces, 0, skipped or {}, failed or {}, metric.name)
    key = _key(metric, "", read.day)
    run = pa.Table.from_pylist([key | _run_of(stores, key, report)])
    # What an earlier judge said stays in force.
    write_partition(stores, {"score_runs": (key, run)})
    return report


def _key(metric: RubricMetric, judge_version: str, day: date) -> dict[str, object]:
    return {
        "day": day,
        "metric": metric.name,
        "metric_version": metric.version,
        "judge_version": judge_version,
    }


def _run_of(stores: Stores, key: dict[str, object], report: RubricReport) -> dict[str, object]:
    with stores.warehouse.read() as connection:
        earlier = connection.rows("judge/scored_at", **key)
    return {
        "tier": "generative",
        "attempted": report.attempted,
        "scored": report.done,
        "skipped": json.dumps(report.skipped, sort_keys=True),
        "failed": json.dumps(report.failed, sort_keys=True),
        "scored_at": earlier[0][0] if earlier else datetime.now(UTC).replace(tzinfo=None),
        "cost_usd": report.cost_usd,
    }


def _write(
    stores: Stores,
    metric: RubricMetric,
    judge_version: str,
    given: Sequence[tuple[Conversation, Opinion | Unjudged]],
    report: RubricReport,
) -> None:
    key = _key(metric, judge_version, report.day)
    rows = [key | row for conversation, said in given if (row := _score_row(conversation, said))]
    write_partition(
        stores,
        {
            "scores": (key, pa.Table.from_pylist(rows, schema=_ROW)),
            "score_runs": (key, pa.Table.from_pylist([key | _run_of(stores, key, report)])),
            "current_runs": current_run(report.day, metric.name, metric.version, judge_version),
        },
    )


def _score_row(conversation: Conversation, said: Opinion | Unjudged) -> dict[str, object]:
    """A row of `scores`; a reply that could not be read is one too, and a call that failed none."""
    row = {
        "trace_id": conversation.trace_id,
        "content_hash": conversation.content_hash,
        "kind": "llm",
        "tier": "generative",
        "cost_usd": said.cost_usd,
        "prompt_tokens": said.prompt_tokens,
        "completion_tokens": said.completion_tokens,
    }
    if isinstance(said, Unjudged):
        unread = {"label": UNPARSED, "reason": quote(said.why)}
        return row | unread if said.kind == UNPARSED else {}
    probability = 1 / (1 + math.exp(-said.logit))
    return row | {
        "value": probability,
        "label": "true" if said.logit > 0 else "false",
        "reason": said.reason,
        "evidence_turn": said.position,
        "probability": probability,
        "logit": said.logit,
        "latency_ms": said.latency_ms,
    }

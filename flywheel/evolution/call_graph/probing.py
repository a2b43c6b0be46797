"""A day's probes: drawn by the published graph's risks, and read by the generative judge.

The graph and a day's traces in, rows of `probes` and `scores` out. The one idea is that the draw is
stored before anybody is asked, so that who was drawn and did not answer is known; what was paid for
is kept in the verdict cache, which the daily judge shares.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime

import pyarrow as pa

from flywheel.errors import NeverWill
from flywheel.evolution.call_graph.probes import Probe, allocate
from flywheel.evolution.call_graph.publishing import published_graphs
from flywheel.evolution.call_graph.runs import read_runs
from flywheel.in_use import generative_of, levers_of
from flywheel.judge.cache import VerdictCache, generative_opinions
from flywheel.judge.judge import Opinion
from flywheel.judge.prompted import PromptedJudge, Unjudged
from flywheel.judge.scoring import no_progress
from flywheel.records import Conversation, PartitionReport
from flywheel.store import Project, Stores
from flywheel.store.snapshots import current_run, write_partition
from flywheel.traces.conversations import InputLevers, read_traces

METRIC, VERSION = "probe", "1"
NO_PROBES = "evolution.probes is 0"
NO_GRAPH = "there is no graph of calls yet; `flywheel evolution graph` makes it"
NO_JUDGE = "judge.generative names none of [judges.NAME], and probes are for it to read"
# A trace that is not read here could not be drawn.
_ALL = 2**31 - 1

_PROBE = pa.schema(
    [
        ("day", pa.date32()),
        *((name, pa.string()) for name in ("trace_id", "content_hash", "app", "node")),
        *((name, pa.float64()) for name in ("inclusion_probability", "risk")),
    ]
)
_SCORE = pa.schema(
    [
        ("day", pa.date32()),
        *((name, pa.string()) for name in ("metric", "metric_version", "judge_version")),
        *((name, pa.string()) for name in ("trace_id", "content_hash", "kind", "tier")),
        *((name, pa.string()) for name in ("label", "reason")),
        ("evidence_turn", pa.int32()),
        *((name, pa.float64()) for name in ("value", "probability", "logit", "cost_usd")),
    ]
)


def probe_day(project: Project, day: date) -> PartitionReport:
    """Draw the day's probes and have them read; the report says what was left out, and why.

    Running it again draws the same ones from the same graph, and pays for none twice.
    """
    settings = project.settings.evolution
    graphs = published_graphs(project.stores)
    if not settings.probes or graphs is None:
        return PartitionReport(day, 0, 0, {NO_GRAPH if settings.probes else NO_PROBES: 1}, {})
    try:
        judge = generative_of(project)
    except NeverWill as error:
        return PartitionReport(day, 0, 0, {}, {str(error): 1})
    if judge is None:
        return PartitionReport(day, 0, 0, {NO_JUDGE: 1}, {})
    runs = [one.without_texts for one in read_runs(project.stores, day, day, _ALL)]
    eligible = [run for run in runs if run.is_eligible and run.steps]
    by_app = {graph.app: graph for graph in graphs.graphs}
    probes = allocate(eligible, by_app, settings.probes, settings.probe_floor)
    drawn = [probe for probe in probes if probe.is_drawn]
    _write_probes(project.stores, day, drawn)
    skipped = {"not eligible": len(runs) - len(eligible), "not drawn": len(probes) - len(drawn)}
    return _ask(project.stores, judge, levers_of(project), day, drawn, skipped)


def _ask(
    stores: Stores,
    judge: PromptedJudge,
    levers: InputLevers,
    day: date,
    drawn: Sequence[Probe],
    skipped: dict[str, int],
) -> PartitionReport:
    with stores.warehouse.read() as connection:
        found = read_traces(connection, [probe.run.trace_id for probe in drawn], levers, day)
    cache = VerdictCache(stores.ledger)
    given, _ = generative_opinions(cache, judge, found, [()] * len(found), no_progress)
    why = Counter(said.kind for said in given if isinstance(said, Unjudged))
    skipped |= {"changed meanwhile": len(drawn) - len(found), "budget": why.pop("budget", 0)}
    pairs = [(c, o) for c, o in zip(found, given, strict=True) if isinstance(o, Opinion)]
    report = PartitionReport(
        day,
        attempted=sum(skipped.values()) + sum(why.values()) + len(pairs),
        done=len(pairs),
        skipped={reason: n for reason, n in skipped.items() if n},
        failed=dict(sorted(why.items())),
    )
    _write_scores(stores, judge.version, pairs, report)
    return report


def _write_probes(stores: Stores, day: date, drawn: Sequence[Probe]) -> None:
    rows = [
        {
            "day": day,
            "trace_id": probe.run.trace_id,
            "content_hash": probe.run.content_hash,
            "app": probe.run.app,
            "node": probe.node,
            "inclusion_probability": probe.chance,
            "risk": probe.risk,
        }
        for probe in drawn
    ]
    write_partition(stores, {"probes": ({"day": day}, pa.Table.from_pylist(rows, schema=_PROBE))})


def _write_scores(
    stores: Stores,
    judge_version: str,
    pairs: Sequence[tuple[Conversation, Opinion]],
    report: PartitionReport,
) -> None:
    key: dict[str, object] = {"day": report.day, "metric": METRIC, "metric_version": VERSION}
    key["judge_version"] = judge_version
    rows = [
        key
        | {
            "trace_id": conversation.trace_id,
            "content_hash": conversation.content_hash,
            "kind": "llm",
            "tier": "generative",
            "label": "true" if said.logit > 0 else "false",
            "reason": said.reason,
            "evidence_turn": said.position,
            "probability": 1 / (1 + math.exp(-said.logit)),
            "value": 1 / (1 + math.exp(-said.logit)),
            "logit": said.logit,
            "cost_usd": said.cost_usd,
        }
        for conversation, said in pairs
    ]
    run = key | {
        "tier": "generative",
        "attempted": report.attempted,
        "scored": report.done,
        "skipped": _counts(report.skipped),
        "failed": _counts(report.failed),
        "scored_at": datetime.now(UTC).replace(tzinfo=None),
    }
    write_partition(
        stores,
        {
            "scores": (key, pa.Table.from_pylist(rows, schema=_SCORE)),
            "score_runs": (key, pa.Table.from_pylist([run])),
            "current_runs": current_run(report.day, METRIC, VERSION, judge_version),
        },
    )


def _counts(counts: dict[str, int]) -> str:
    return json.dumps(counts, sort_keys=True)

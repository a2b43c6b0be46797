"""What the assets of evolution say of themselves.

Reports of the library in, values that the UI shows out; `metadata` has those of the other stages.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from dagster_defs.metadata import reasons, table
from flywheel.evolution.call_graph.publishing import PublishedGraphs
from flywheel.evolution.cases.weekly import WeekOfCases
from flywheel.evolution.failures.digest import Digest
from flywheel.evolution.failures.modes import Modes
from flywheel.evolution.formats.proposing import Compared
from flywheel.evolution.functions.learning import Learnt
from flywheel.evolution.metric_set.proposing import MetricSetReport
from flywheel.evolution.metric_set.rescoring import Rescored


def graph_facts(made: PublishedGraphs) -> dict[str, Any]:
    """What was counted of each application, and the node of it to look at first."""
    rows = [
        (g.app, g.n_runs, g.n_steps, len(g.nodes), g.riskiest[0].id if g.riskiest else "")
        for g in made.graphs
    ]
    columns = ("application", "traces", "steps", "nodes", "riskiest node")
    left_out = {"applications left out": made.n_apps_left_out}
    return {"applications": len(rows)} | left_out | {"graphs": table(columns, rows)}


def metric_set_facts(said: MetricSetReport | str) -> dict[str, Any]:
    """What a model proposed to measure, and what was refused; or why it proposed nothing."""
    if isinstance(said, str):
        return {"nothing proposed": said}
    refused = table(("metric", "refused because"), said.refused.items()) if said.refused else "none"
    return {
        "proposed by": said.author,
        "traces shown": said.traces_shown,
        "labels that measured": said.labels_held,
        "changes wanted": said.wanted,
        "proposed": len(said.proposed),
        "proposed before": said.known,
        "refused": refused,
    }


def mode_facts(found: Modes, digest: Digest) -> dict[str, Any]:
    """How conversations fail and whether it grows, or why nothing stands out; and the digest."""
    rows = [
        (mode.mode_id, mode.name, mode.is_new, mode.n, mode.share, mode.frequency.trend)
        for mode in found.modes
    ]
    columns = ("mode", "name", "new", "conversations", "share", "trend")
    return {
        "conversations with an error": found.n_flagged,
        "read": found.n_read,
        "each in its own way": found.n_alone,
        "modes": table(columns, rows) if rows else found.why,
        "digest": dg.MetadataValue.md(digest.markdown),
    }


def learnt_facts(said: Learnt | str) -> dict[str, Any]:
    """What was tried on an agent's functions and what became of it; or why nothing was."""
    if isinstance(said, str):
        return {"nothing proposed": said}
    rows = [
        (one.number, "accepted" if one.accepted else "rejected", ", ".join(one.actions), one.said)
        for one in said.found.steps
    ]
    tried = {"steps": table(("step", "outcome", "actions", "why"), rows)} if rows else {}
    return {"conclusion": said.sentence, "proposed": len(said.proposed)} | tried


def case_facts(week: WeekOfCases) -> dict[str, Any]:
    """What the kept cases cover, what was proposed, and what was not, and why."""
    rows = [(one.name, one.cases, one.pairs.covered, one.pairs.of) for one in week.covered]
    covered = {"coverage": table(("dimensions", "cases", "pairs", "of"), rows)} if rows else {}
    return {"proposed": len(week.proposals), "conclusion": " ".join(week.said)} | covered


def format_facts(said: Compared | str) -> dict[str, Any]:
    """How each format was read and what it takes; or why none was looked at."""
    if isinstance(said, str):
        return {"nothing compared": said}
    rows = [
        (one.name, f"{one.accuracy.estimate:.1%}", f"{one.tokens.estimate:.1f}", one.state)
        for one in said.choice.arms
    ]
    columns = ("format", "right", "tokens of a case", "is")
    facts = {"conclusion": said.evidence.sentence, "cases": said.choice.n}
    return facts | {"formats": table(columns, rows)}


def rescored_facts(reports: Sequence[Rescored]) -> dict[str, Any]:
    """How much of history each metric has read, and what it left out."""
    rows = [
        (r.metric, r.version, r.days, r.attempted, r.scored, reasons(r.skipped | r.failed))
        for r in reports
    ]
    columns = ("metric", "version", "days", "attempted", "scored", "left out")
    return {"metrics": len(rows)} | ({"history": table(columns, rows)} if rows else {})

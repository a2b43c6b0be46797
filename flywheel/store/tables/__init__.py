"""The ledger's tables: what must never be lost, and what many write at once.

Append-only where people or money are involved: a decision is undone by a later one, a verdict that
was paid for stays, an alias moves and the audit log says who moved it. A change here needs a
migration.
"""

from flywheel.store.tables.base import metadata
from flywheel.store.tables.evolving import (
    failure_modes,
    functions,
    live_functions,
    proposal_traces,
    proposals,
)
from flywheel.store.tables.judging import (
    alerts_fired,
    judge_budgets,
    judge_calibrations,
    judge_calls,
    panel_outcomes,
    panel_votes,
    verdict_cache,
)
from flywheel.store.tables.people import (
    api_keys,
    claims,
    comments,
    decisions,
    invitations,
    item_metrics,
    queue_items,
    queues,
    rubrics,
    users,
)
from flywheel.store.tables.serving import (
    example_switches,
    experiment_looks,
    experiments,
    exposures,
    feedback,
    forgettings,
    inbox,
    served_examples,
    watched_files,
)
from flywheel.store.tables.work import (
    aliases,
    audit_log,
    gate_verdicts,
    imports,
    lineage,
    publications,
    snapshots,
    trace_documents,
    versions,
)

__all__ = [
    "alerts_fired",
    "aliases",
    "api_keys",
    "audit_log",
    "claims",
    "comments",
    "decisions",
    "example_switches",
    "experiment_looks",
    "experiments",
    "exposures",
    "failure_modes",
    "feedback",
    "forgettings",
    "functions",
    "gate_verdicts",
    "imports",
    "inbox",
    "invitations",
    "item_metrics",
    "judge_budgets",
    "judge_calibrations",
    "judge_calls",
    "lineage",
    "live_functions",
    "metadata",
    "panel_outcomes",
    "panel_votes",
    "proposal_traces",
    "proposals",
    "publications",
    "queue_items",
    "queues",
    "rubrics",
    "served_examples",
    "snapshots",
    "trace_documents",
    "users",
    "verdict_cache",
    "versions",
    "watched_files",
]

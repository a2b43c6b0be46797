"""Who holds what of a person: every table and kind of file, and what forgetting does to it.

One table to read. A test fails where a table or a folder of the product is missing here, so that
whoever adds one has to say what becomes of it.
"""

from dataclasses import dataclass
from typing import Literal

# rows        rows of the person's traces are deleted
# examples    and rows that speak of an example made of the person's traces
# rewritten   what is theirs is cut out, and the rest stays as it was
# pseudonym   names become a keyed hash; that something happened stays known
# remade      removed whole, and made again by the next run
# nothing     holds counts, settings or versions, and no word of a trace
What = Literal["rows", "examples", "rewritten", "pseudonym", "remade", "nothing"]


@dataclass(frozen=True, slots=True)
class Holder:
    """One table or folder, and what forgetting does to it."""

    name: str
    what: What
    why: str = ""


LEDGER: tuple[Holder, ...] = (
    Holder("alerts_fired", "nothing"),
    Holder("aliases", "nothing"),
    Holder("api_keys", "nothing", "people who work here, not people in traces"),
    Holder("audit_log", "pseudonym", "who did what stays known, on which trace does not"),
    Holder("claims", "rows", "by their item"),
    Holder("comments", "rows"),
    Holder("decisions", "rows"),
    Holder("example_switches", "examples"),
    Holder("experiment_looks", "nothing", "rates and counts"),
    Holder("experiments", "nothing", "arms and plans"),
    Holder("exposures", "rows", "by their sessions, and by their users"),
    Holder("failure_modes", "nothing", "the middle of many traces, and a name"),
    Holder("feedback", "rows", "and what the person said of any trace"),
    Holder("forgettings", "nothing", "the receipts; they name nobody"),
    Holder("functions", "rewritten", "code that a person read, without the ids of the traces"),
    Holder("gate_verdicts", "nothing", "rates and hashes"),
    Holder("imports", "rewritten", "points to the archive without the person's lines"),
    Holder("inbox", "rewritten", "the person's spans are cut out of what waits"),
    Holder("invitations", "nothing", "people who work here"),
    Holder("item_metrics", "rows", "by their item"),
    Holder("judge_budgets", "nothing"),
    Holder("judge_calibrations", "nothing", "weights and counts"),
    Holder("judge_calls", "rewritten", "counts and hashes stay for the bill; what was said goes"),
    Holder("lineage", "rows", "of decisions that go; the receipt names the versions"),
    Holder("live_functions", "nothing", "names and versions"),
    Holder("panel_outcomes", "rows"),
    Holder("panel_votes", "rows"),
    Holder("proposal_traces", "rows"),
    Holder("proposals", "rewritten", "texts that repeat none of a trace, without its id"),
    Holder("publications", "remade", "where what is published names a trace"),
    Holder("queue_items", "rows", "and the person's examples in the items of others"),
    Holder("queues", "nothing"),
    Holder("rubrics", "nothing"),
    Holder("served_examples", "examples", "and what the person was served"),
    Holder("snapshots", "rewritten", "Parquet files, one a partition"),
    Holder("trace_documents", "rows", "and their bytes in the packs become zeros"),
    Holder("users", "nothing", "people who work here"),
    Holder("verdict_cache", "rows", "by the hash of the conversation"),
    Holder("versions", "rewritten", "manifests name the rewritten training set"),
    Holder("watched_files", "nothing", "names of files, which are not ours to change"),
)

WAREHOUSE: tuple[Holder, ...] = (
    Holder("corrections", "rows"),
    Holder("current_runs", "nothing"),
    Holder("decisions", "rows"),
    Holder("drift", "nothing"),
    Holder("estimates", "nothing"),
    Holder("feedback", "rows"),
    Holder("few_shot_corrections", "examples"),
    Holder("forgettings", "nothing", "which of them this file has been through"),
    Holder("labels", "rows"),
    Holder("loaded_imports", "nothing"),
    Holder("messages", "rows"),
    Holder("panel_outcomes", "rows"),
    Holder("probes", "rows"),
    Holder("rejected_rows", "nothing", "places and reasons, no text of a line"),
    Holder("samples", "rows"),
    Holder("schema_version", "nothing"),
    Holder("score_runs", "nothing"),
    Holder("scores", "rows"),
    Holder("shadow_scores", "rows"),
    Holder("spans", "rows"),
    Holder("traces", "rows"),
)

ARTIFACTS: tuple[Holder, ...] = (
    Holder("adapters", "nothing", "weights; those that had learnt from the person are named"),
    Holder("application_index", "rewritten", "the current generation; older ones go"),
    Holder("call_graph", "remade", "where a trace of the person is named"),
    Holder("cards", "nothing", "rates, counts and names of applications"),
    Holder("digest", "remade", "where a trace of the person is named"),
    Holder("documents", "rewritten", "the person's bytes in a pack become zeros"),
    Holder("experiments", "nothing", "what the page shows: rates and counts"),
    Holder("failures", "remade", "where a trace of the person is named"),
    Holder("index", "rewritten", "the current generation; older ones go"),
    Holder("judges", "nothing", "weights; those that had learnt from the person are named"),
    Holder("quality", "remade"),
    Holder("raw", "rewritten", "the person's lines are blank, their spans are cut out"),
    Holder("selection", "nothing", "rates, counts and names of metrics"),
    Holder("shadows", "remade", "where a trace of the person is named"),
    Holder("snapshots", "rewritten"),
    Holder("training_sets", "rewritten"),
    Holder("trainings", "nothing", "weights of a training under way, or why it gave nothing"),
    Holder("vectors", "remade", "of each day; one folder a day"),
)

FILES: tuple[Holder, ...] = (
    Holder("cases", "rewritten", "kept cases beside flywheel.toml, without the trace's"),
    Holder("dagster", "pseudonym", "what the orchestrator has kept of runs"),
    Holder("warehouse.before-rebuild.duckdb", "remade", "removed"),
    Holder("warehouse.rebuilding.duckdb", "remade", "removed; what a killed rebuild has left"),
)


def named(holders: tuple[Holder, ...], *what: What) -> list[str]:
    """The names of those to which one of these is done."""
    return [holder.name for holder in holders if holder.what in what]

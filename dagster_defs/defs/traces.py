"""Traces: imported files become rows, and each day gets a sample with known probabilities."""

import dagster as dg

from dagster_defs.metadata import facts, loaded_facts
from dagster_defs.partitions import DAILY, each_day, first_day
from dagster_defs.resources import ProjectResource
from flywheel.traces.draining import drain_and_load
from flywheel.traces.importing import count_traces, days_with_traces
from flywheel.traces.sampling import sample_day
from flywheel.traces.soundness import count_all_traces, doubled_traces
from flywheel.traces.watching import import_watched

# Below this a judge that reads reactions reads too little to speak for the application.
MIN_ELIGIBLE_SHARE = 0.5


@dg.asset(partitions_def=DAILY, group_name="traces", kinds={"duckdb"}, pool="warehouse")
def traces(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """The day's conversations, live ones and those of every file that is not loaded yet."""
    opened = project.get()
    stores = opened.stores
    drain_and_load(stores, opened.settings)
    return each_day(context, stores, lambda day: facts(count_traces(stores, day)))


# The sensor asks once for what has come, so that a run that only met a lock has to try again.
@dg.asset(
    group_name="traces",
    kinds={"duckdb"},
    pool="warehouse",
    retry_policy=dg.RetryPolicy(max_retries=3, delay=60),
)
def live_traces(project: ProjectResource) -> dg.MaterializeResult:
    """What applications have sent since the last time, as far as their traces are whole."""
    opened = project.get()
    drained, imports = drain_and_load(opened.stores, opened.settings)
    return dg.MaterializeResult(metadata=facts(drained) | loaded_facts(imports))


@dg.asset(group_name="traces", kinds={"duckdb"}, pool="warehouse")
def watched_files(project: ProjectResource) -> dg.MaterializeResult:
    """New files of the folder in `traces.watch`, imported as soon as they are whole."""
    return dg.MaterializeResult(metadata=facts(import_watched(project.get())))


@dg.asset(
    partitions_def=DAILY, group_name="traces", kinds={"duckdb"}, pool="warehouse", deps=[traces]
)
def sampled_traces(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """The day's traces that the expensive judge reads, drawn by hash with a known probability."""
    opened = project.get()
    stores, how = opened.stores, opened.settings.sampling
    return each_day(
        context,
        stores,
        lambda day: facts(sample_day(stores, day, how.rate, how.min_per_stratum)),
    )


@dg.asset_check(asset=traces, blocking=True)
def one_version_is_current(project: ProjectResource) -> dg.AssetCheckResult:
    """No trace has two versions that are marked as the current one."""
    doubled = doubled_traces(project.get().stores)
    return dg.AssetCheckResult(
        passed=not doubled, metadata={"traces": len(doubled), "first": ", ".join(doubled[:5])}
    )


@dg.asset_check(asset=traces)
def every_line_was_read(project: ProjectResource) -> dg.AssetCheckResult:
    """No line of an imported file was rejected; `flywheel traces import` says which and why."""
    rejected = count_all_traces(project.get().stores).rejected
    return dg.AssetCheckResult(
        passed=not rejected,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"rejected lines": rejected},
    )


@dg.asset_check(asset=traces)
def most_traces_are_eligible(project: ProjectResource) -> dg.AssetCheckResult:
    """In at least half of the traces a user speaks after an answer, so that there is a reaction."""
    counts = count_all_traces(project.get().stores)
    return dg.AssetCheckResult(
        passed=counts.eligible >= MIN_ELIGIBLE_SHARE * counts.traces,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"eligible": counts.eligible, "traces": counts.traces},
    )


@dg.asset_check(asset=traces)
def every_day_has_a_partition(project: ProjectResource) -> dg.AssetCheckResult:
    """No trace is older than `project.first_day`, from which on days can be worked on."""
    first = first_day(project.folder)
    early = [day for day in days_with_traces(project.get().stores) if day < first]
    return dg.AssetCheckResult(
        passed=not early,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"days": len(early), "first": str(min(early, default="none"))},
    )

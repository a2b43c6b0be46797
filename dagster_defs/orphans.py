"""Runs whose process is gone: ended as failed, so that none holds its place in the queue for ever.

`flywheel up` runs this before it starts anything, where it was cut off the last time. Whatever the
instance then shows as under way has no process, and Dagster's local launcher does not look for one.
"""

import dagster as dg

_WHY = "The machine stopped, or `flywheel up` was killed, while this run was under way."
_UNDER_WAY = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def fail_orphans(instance: dg.DagsterInstance) -> int:
    """End every run that is under way, and give back its places in pools; their number."""
    records = instance.get_run_records(dg.RunsFilter(statuses=_UNDER_WAY))
    for record in records:
        instance.report_run_failed(record.dagster_run, _WHY)
        instance.event_log_storage.free_concurrency_slots_for_run(record.dagster_run.run_id)
    return len(records)


if __name__ == "__main__":
    with dg.DagsterInstance.get() as present:
        fail_orphans(present)

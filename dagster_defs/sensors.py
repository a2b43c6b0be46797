"""What starts a run when people have decided enough.

Counts of the ledger in, run requests out; the one idea is that a sensor counts what is not consumed
yet and names it in the run key, so that it asks once, and never for an id that came late.
"""

import hashlib

import dagster as dg

from dagster_defs.defs.review import reviews
from dagster_defs.metadata import facts
from dagster_defs.resources import ProjectResource
from dagster_defs.schedules import learn, retrain
from flywheel.review import count_decisions, count_reviews
from flywheel.training.challenger import labels_since_training

_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


@dg.sensor(job=learn, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def learn_after_decisions(
    context: dg.SensorEvaluationContext, project: ProjectResource
) -> dg.SensorResult | dg.SkipReason:
    """Labels, estimates and the index follow what people decide; the cursor is how much it was.

    With the run it reports `reviews`, which nobody else can: people made it.
    """
    ledger, known = project.get().stores.ledger, int(context.cursor or "0")
    decided = count_decisions(ledger)
    if decided == known:
        return dg.SkipReason(f"{decided} decisions, all of them in the labels")
    if is_under_way(context.instance, learn.name):
        return dg.SkipReason("the labels are being derived; asking again after that")
    made = {"new since the last": decided - known} | facts(count_reviews(ledger))
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"decisions-{decided}")],
        asset_events=[dg.AssetMaterialization(reviews.key, metadata=made)],
        cursor=str(decided),
    )


@dg.sensor(job=retrain, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def retrain_after_corrections(
    context: dg.SensorEvaluationContext, project: ProjectResource
) -> dg.RunRequest | dg.SkipReason:
    """A challenger, as soon as `training.min_corrections` labels stand that no training considered.

    After a training that was refused or failed it waits for as many again.
    """
    opened = project.get()
    new, need = labels_since_training(opened.stores).ids, opened.settings.training.min_corrections
    if len(new) < need:
        return dg.SkipReason(f"{len(new)} new labels, {need - len(new)} more to go")
    if is_under_way(context.instance, retrain.name):
        return dg.SkipReason("a retraining is under way")
    full = new[: len(new) - len(new) % need]
    return dg.RunRequest(run_key=hashlib.sha256(",".join(full).encode()).hexdigest()[:16])


def is_under_way(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Whether a run of the job is queued or running."""
    unfinished = dg.RunsFilter(job_name=job_name, statuses=_UNDER_WAY)
    return bool(instance.get_run_records(unfinished, limit=1))


SENSORS = [learn_after_decisions, retrain_after_corrections]

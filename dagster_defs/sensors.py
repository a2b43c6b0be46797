"""What starts a run when people have decided enough, or when traces have come.

Counts of the ledger in, run requests out; the one idea is that a sensor counts what is not consumed
yet and names it in the run key, so that it asks once, and never for an id that came late.
"""

import hashlib
from datetime import datetime, timedelta

import dagster as dg

from dagster_defs.defs.review import reviews
from dagster_defs.defs.traces import traces
from dagster_defs.metadata import facts
from dagster_defs.resources import ProjectResource
from dagster_defs.schedules import (
    TARGETS,
    WHY,
    announce,
    bring_in,
    daily,
    ingest,
    learn,
    reread,
    retrain,
)
from flywheel.evolution.metric_set.rescoring import asked_to_rescore
from flywheel.quality.announcing import rules_of_moves
from flywheel.quality.moves_told import newest_news
from flywheel.records import JUDGE_TARGET
from flywheel.registry import fallen_champions, labels_after_fall
from flywheel.retraining import new_labels
from flywheel.review import count_decisions, count_reviews
from flywheel.store.ledger import now
from flywheel.traces.inbox import state_of
from flywheel.traces.touched_days import touched_days
from flywheel.traces.watching import look_at, watched_folder

# Traces that come later than this are worked on when somebody asks for it.
LATE_FOR = timedelta(days=3)
# An exporter that was offline sends what it has kept in many requests.
QUIET_FOR = timedelta(minutes=15)
# Days that one look asks for; the others follow at the next.
_DAYS_AT_ONCE = 5

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

    Of any target. After a training that was refused or failed it waits for as many again.
    """
    opened = project.get()
    need = opened.settings.training.min_corrections
    new = {target: labels.ids for target, labels in new_labels(opened).items()}
    most = max(map(len, new.values()))
    if most < need:
        return dg.SkipReason(f"{most} new labels, {need - most} more to go")
    if is_under_way(context.instance, retrain.name):
        return dg.SkipReason("a retraining is under way")
    due = {target: ids for target, ids in new.items() if len(ids) >= need}
    full = [f"{t}:{','.join(ids[: len(ids) - len(ids) % need])}" for t, ids in due.items()]
    of_each = ", ".join(
        f"{len(ids)} new labels{'' if t == JUDGE_TARGET else f' of {t}'}" for t, ids in due.items()
    )
    return dg.RunRequest(
        run_key=hashlib.sha256(";".join(full).encode()).hexdigest()[:16],
        tags={WHY: f"{of_each}, and training.min_corrections asks for {need}"},
    )


@dg.sensor(job=retrain, minimum_interval_seconds=600, default_status=dg.DefaultSensorStatus.RUNNING)
def retrain_after_drift(
    context: dg.SensorEvaluationContext, project: ProjectResource
) -> dg.RunRequest | dg.SkipReason:
    """A challenger, where the champion agrees with people less than it did, once a week at most.

    It needs a part of the labels that `retrain_after_corrections` waits for: without new ones the
    same judge would come out.
    """
    opened = project.get()
    fallen = fallen_champions(opened.stores)
    if not fallen:
        return dg.SkipReason("no champion agrees with people less than it did")
    why = "; ".join(f"{target}: {change.why}" for target, change in fallen.items())
    need = labels_after_fall(opened.settings.training.min_corrections)
    new = {target: labels.count for target, labels in new_labels(opened).items()}
    due = [target for target in fallen if new.get(target, 0) >= need]
    if not due:
        most = max(new.get(target, 0) for target in fallen)
        return dg.SkipReason(
            f"{why}; {most} new labels, and {need} are needed for a retraining to add anything"
        )
    if is_under_way(context.instance, retrain.name):
        return dg.SkipReason("a retraining is under way")
    year, week, _ = now().isocalendar()
    judges = "-".join(fallen[target].judge for target in due)
    return dg.RunRequest(
        run_key=f"drift-{judges}-{year}-{week}", tags={WHY: why, TARGETS: ",".join(due)}
    )


@dg.sensor(job=announce, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def announce_moves(
    context: dg.SensorEvaluationContext, project: ProjectResource
) -> dg.RunRequest | dg.SkipReason:
    """A champion that a person moved is told of as one that the gate moved."""
    opened = project.get()
    if not rules_of_moves(opened.settings.alerts):
        return dg.SkipReason("no rule of [alerts] asks for champions or for what the gate said")
    newest = newest_news(opened.stores.ledger, now())
    if not newest:
        return dg.SkipReason("no champion moved lately, and the gate has not decided")
    if is_under_way(context.instance, learn.name):
        return dg.SkipReason("all rules are being looked at; asking again after that")
    return dg.RunRequest(run_key=f"moves-{newest}")


@dg.sensor(job=reread, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def reread_after_approval(
    context: dg.SensorEvaluationContext, project: ProjectResource
) -> dg.RunRequest | dg.SkipReason:
    """History under an approved metric, once somebody asked for it on the proposal's page."""
    asked = asked_to_rescore(project.get().stores.ledger)
    if not asked:
        return dg.SkipReason("nobody asked that a metric reads history")
    if is_under_way(context.instance, reread.name):
        return dg.SkipReason("history is being read; asking again after that")
    names = ", ".join(one.draft.subject for one in asked)
    key = ";".join(f"{one.proposal_id} {one.rescore_asked_at}" for one in asked)
    return dg.RunRequest(
        run_key=hashlib.sha256(key.encode()).hexdigest()[:16],
        tags={WHY: f"history under {names}, as somebody asked on the proposal's page"},
    )


@dg.sensor(job=bring_in, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def import_watched_files(
    context: dg.SensorEvaluationContext, project: ProjectResource
) -> dg.RunRequest | dg.SkipReason:
    """Files of the watched folder, once they have the size and the time of the look before."""
    opened = project.get()
    folder = watched_folder(opened)
    if folder is None:
        return dg.SkipReason("traces.watch names no folder")
    whole = look_at(opened.stores.ledger, folder)
    if not whole:
        return dg.SkipReason(f"no new file in {folder}, or none that is whole yet")
    if is_under_way(context.instance, bring_in.name):
        return dg.SkipReason("files are being imported; asking again after that")
    return dg.RunRequest()


@dg.sensor(job=ingest, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def ingest_live_traces(
    context: dg.SensorEvaluationContext, project: ProjectResource
) -> dg.RunRequest | dg.SkipReason:
    """The inbox is drained when something came, and when what was waited for will not come.

    What is held back, since its trace is not whole, starts no run by itself.
    """
    opened = project.get()
    state = state_of(opened.stores.ledger, opened.settings.traces.idle_s)
    if not state:
        return dg.SkipReason("the inbox is empty")
    if is_under_way(context.instance, ingest.name):
        return dg.SkipReason("the inbox is being drained; asking again after that")
    return dg.RunRequest(run_key=f"inbox-{state}")


@dg.sensor(job=daily, minimum_interval_seconds=300, default_status=dg.DefaultSensorStatus.RUNNING)
def again_after_late_traces(
    context: dg.SensorEvaluationContext, project: ProjectResource
) -> dg.SensorResult | dg.SkipReason:
    """A day whose line has run is run again when traces came for it since, and it is quiet now."""
    present = now()
    touched = touched_days(project.get().stores.ledger, present - LATE_FOR)
    quiet = [
        one
        for one in touched
        if one.day < present.date() and one.last_at <= present - QUIET_FOR
        if is_older_than(context.instance, one.day.isoformat(), one.last_at)
    ]
    if not quiet:
        return dg.SkipReason(f"{len(touched)} days got traces lately, none since its line has run")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"{one.day}-{one.watermark}", partition_key=str(one.day))
            for one in quiet[:_DAYS_AT_ONCE]
        ]
    )


def is_older_than(instance: dg.DagsterInstance, day: str, moment: datetime) -> bool:
    """Whether the day's traces were made, and by a run that began before that moment."""
    of_day = dg.AssetRecordsFilter(asset_key=traces.key, asset_partitions=[day])
    for made in instance.fetch_materializations(of_day, limit=1).records:
        run = instance.get_run_record_by_id(made.run_id)
        began = run.start_time if run and run.start_time else made.timestamp
        return began < moment.timestamp()
    return False


def is_under_way(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Whether a run of the job is queued or running."""
    unfinished = dg.RunsFilter(job_name=job_name, statuses=_UNDER_WAY)
    return bool(instance.get_run_records(unfinished, limit=1))


SENSORS = [
    *(learn_after_decisions, retrain_after_corrections, retrain_after_drift, announce_moves),
    *(import_watched_files, ingest_live_traces, again_after_late_traces, reread_after_approval),
]

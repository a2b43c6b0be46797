"""Jobs, and when they run: the day's line at night, the labels after it, a retraining once a week.

All schedules are on from the start: an unattended loop is the product. None of them moves the
champion unless the project's settings leave that to the gate.
"""

from datetime import timedelta

import dagster as dg

from dagster_defs.partitions import DAILY
from dagster_defs.resources import ProjectResource
from flywheel.training.challenger import labels_since_training

daily = dg.define_asset_job(
    "daily",
    dg.AssetSelection.assets(
        *("traces", "sampled_traces", "code_scores"),
        *("few_shot_corrections", "judge_scores", "review_queue"),
    ),
    description="Every stage of a day, from its traces to its review queue.",
)
learn = dg.define_asset_job(
    "learn",
    dg.AssetSelection.assets("corrections", "judge_calibration", "quality_report")
    | dg.AssetSelection.assets("correction_index"),
    description="What people decided becomes labels, estimates and examples.",
)
retrain = dg.define_asset_job(
    "retrain",
    dg.AssetSelection.assets(
        *("corrections", "training_set", "lora_adapter", "gate_verdict", "champion")
    ),
    description="A challenger from the labels that stand, and the gate's word on it.",
)
rescore = dg.define_asset_job(
    "rescore",
    dg.AssetSelection.assets("judge_scores", "review_queue"),
    description="Days that were scored before, again by the judge in use; earlier rows stay.",
)
JOBS = [daily, learn, retrain, rescore]


@dg.schedule(
    job=daily,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def every_night(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Yesterday, two hours after it has ended."""
    day = (context.scheduled_execution_time - timedelta(days=1)).date().isoformat()
    if not DAILY.has_partition_key(day):
        return dg.SkipReason(f"{day} is before project.first_day")
    return dg.RunRequest(run_key=day, partition_key=day)


learn_every_night = dg.ScheduleDefinition(
    name="learn_every_night",
    job=learn,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The night's verdicts enter the estimates, whether or not people decided anything.",
)


@dg.schedule(
    job=retrain,
    cron_schedule="0 4 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def retrain_every_week(
    context: dg.ScheduleEvaluationContext, project: ProjectResource
) -> dg.RunRequest | dg.SkipReason:
    """On Mondays, where there is any label that no training has considered."""
    if not labels_since_training(project.get().stores).count:
        return dg.SkipReason("no new label since the last training")
    return dg.RunRequest(run_key=context.scheduled_execution_time.date().isoformat())


SCHEDULES = [every_night, learn_every_night, retrain_every_week]

"""Jobs, and when they run: the day's line at night, the labels after it, a retraining once a week.

All schedules are on from the start: an unattended loop is the product. None of them moves the
champion unless the project's settings leave that to the gate.
"""

from datetime import timedelta

import dagster as dg

from dagster_defs.partitions import DAILY
from dagster_defs.resources import ProjectResource
from flywheel.retraining import new_labels

daily = dg.define_asset_job(
    "daily",
    dg.AssetSelection.assets(
        *("traces", "sampled_traces", "code_scores"),
        *("few_shot_corrections", "judge_scores", "review_queue"),
        *("rubric_scores", "panel_labels", "probes"),
    ),
    description="Every stage of a day, from its traces to its review queue.",
)
ingest = dg.define_asset_job(
    "ingest",
    dg.AssetSelection.assets("live_traces"),
    description="What applications sent leaves the inbox, and can be asked for.",
)
learn = dg.define_asset_job(
    "learn",
    dg.AssetSelection.assets("corrections", "judge_calibration", "quality_report", "alerts")
    | dg.AssetSelection.assets("feedback", "correction_index", "experiments"),
    description="What people decided becomes labels, estimates and examples.",
)
retrain = dg.define_asset_job(
    "retrain",
    dg.AssetSelection.assets(
        *("corrections", "training_set", "lora_adapter", "gate_verdict", "champion"),
    ),
    description="A challenger from the labels that stand, and the gate's word on it.",
)
rescore = dg.define_asset_job(
    "rescore",
    dg.AssetSelection.assets("judge_scores", "review_queue"),
    description="Days that were scored before, again by the judge in use; earlier rows stay.",
)
bring_in = dg.define_asset_job(
    "bring_in",
    dg.AssetSelection.assets("watched_files"),
    description="New files of the watched folder are imported.",
)
forget = dg.define_asset_job(
    "forget",
    dg.AssetSelection.assets("expired_traces"),
    description="Traces that are too old go, and who was forgotten stays so.",
)
announce = dg.define_asset_job(
    "announce",
    dg.AssetSelection.assets("announcements"),
    description="New champions, and what the gate said, are told to whom the rules name.",
)
evolve = dg.define_asset_job(
    "evolve",
    dg.AssetSelection.assets(
        "metric_set", "failure_modes", "call_graph", "functions", "cases", "formats"
    ),
    description="Programs propose what to measure, call and test; people approve it.",
)
reread = dg.define_asset_job(
    "reread",
    dg.AssetSelection.assets("metric_history"),
    description="Days that were scored before, again by a metric that a person approved.",
)
JOBS = [daily, ingest, learn, retrain, rescore, bring_in, forget, announce, evolve, reread]

# The tag of a run that says in a sentence why it was started.
WHY = "flywheel/why"
# Names of targets that a run retrains whether or not as many labels are new as are waited for.
TARGETS = "flywheel/targets"


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

forget_every_night = dg.ScheduleDefinition(
    name="forget_every_night",
    job=forget,
    cron_schedule="0 1 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Before the night's run, so that it works on what may stay.",
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
    new = max(labels.count for labels in new_labels(project.get()).values())
    if not new:
        return dg.SkipReason("no new label since the last training: it would add nothing")
    return dg.RunRequest(
        run_key=context.scheduled_execution_time.date().isoformat(),
        tags={WHY: f"the weekly retraining, with {new} new labels"},
    )


evolve_every_week = dg.ScheduleDefinition(
    name="evolve_every_week",
    job=evolve,
    cron_schedule="0 5 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="On Mondays, so that what is proposed waits when people come.",
)

SCHEDULES = [
    *(forget_every_night, every_night, learn_every_night, retrain_every_week),
    evolve_every_week,
]

-- One row a version of a metric that has scored the day: when it first did (UTC).
-- $day: UTC day
select metric, metric_version, min(scored_at) as scored_at
from score_runs
where day = $day and judge_version = ''
group by metric, metric_version
order by metric, metric_version

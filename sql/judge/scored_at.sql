-- One row, or none: when this day was first scored by these versions (UTC), and how many traces at
-- which cost in USD.
-- $day: UTC day; $metric, $metric_version, $judge_version: the versions
select scored_at, scored, cost_usd
from score_runs
where day = $day and metric = $metric
    and metric_version = $metric_version and judge_version = $judge_version
order by scored_at
limit 1

-- One row a metric that a model judges and a tier, on the newest day that any was to be judged: how
-- many verdicts there are of the version in force, and how many there should be besides. Where a
-- metric has none in force because no judge reads it, all are missing and `has_judge` is false.
with in_force as (
    select r.*, true as has_judge
    from score_runs as r
    inner join current_runs as c
        on c.day = r.day and c.metric = r.metric and c.metric_version = r.metric_version
        and c.judge = split_part(r.judge_version, '/', 1)
    where r.judge_version <> ''
),

without_judge as (
    select r.*, false as has_judge
    from score_runs as r
    anti join current_runs as c on c.day = r.day and c.metric = r.metric
    -- Scores by code name no judge either, but are of no generative tier.
    where r.judge_version = '' and r.tier = 'generative'
    qualify row_number() over (
        partition by r.day, r.metric order by r.scored_at desc, r.metric_version
    ) = 1
),

runs as (
    from in_force
    union all by name
    from without_judge
)

select
    r.metric,
    coalesce(r.tier, '') as tier,
    r.day,
    r.has_judge,
    sum(r.scored)::bigint as scored,
    sum((
        select coalesce(sum(f.value::bigint), 0)
        from json_each(r.failed) as f
    ) + if(r.has_judge, 0, (
        select coalesce(sum(f.value::bigint), 0)
        from json_each(r.skipped) as f
    )))::bigint as failed
from runs as r
where r.day = (select max(day) from runs)
group by r.metric, r.tier, r.day, r.has_judge
order by r.metric, tier

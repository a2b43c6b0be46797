-- One row a tier of the judge: what it read of the days, on how many traces it has the last word by
-- its certified threshold, how many it failed on, and what it cost.
-- $first: first UTC day
with runs as (
    select
        r.day,
        r.tier,
        r.judge_version,
        r.scored,
        coalesce(r.cost_usd, 0) as cost_usd,
        (select coalesce(sum(f.value::bigint), 0) from json_each(r.failed) as f) as failed
    from score_runs as r
    inner join current_runs as c
        on c.day = r.day and c.metric = r.metric and c.metric_version = r.metric_version
        and c.judge = split_part(r.judge_version, '/', 1)
    where r.metric = 'perceived_error' and r.tier is not null and r.day >= $first
)

select
    r.tier,
    sum(r.scored)::bigint as n_read,
    sum((
        select count(*)
        from scores as s
        where s.day = r.day and s.judge_version = r.judge_version
            and s.metric = 'perceived_error' and s.is_decided
    ))::bigint as n_decided,
    sum(r.failed)::bigint as n_failed,
    sum(r.cost_usd) as cost_usd
from runs as r
group by r.tier
order by case r.tier when 'lexical' then 1 when 'frozen' then 2 when 'lora' then 3 else 4 end, r.tier

-- One row a metric that says yes or no of a trace, and one group of traces: how many it says yes of,
-- with the sums over sessions that the variance of that share needs.
-- $app: null is all of them; $first, $last: UTC days, both included; null is without a bound
with sessions as (
    select
        s.metric,
        s.metric_version,
        t.app,
        t.session_id,
        min(s.day) as first_day,
        max(s.day) as last_day,
        count(*) as n,
        count(*) filter (where lower(s.label) = 'true') as yes
    from current_scores as s
    inner join traces as t
        on t.day = s.day and t.trace_id = s.trace_id and t.content_hash = s.content_hash
        and t.is_current
    where s.span_id is null and s.metric <> 'perceived_error'
        and lower(s.label) in ('true', 'false')
        and ($app::varchar is null or t.app = $app)
        and ($first::date is null or s.day >= $first::date)
        and ($last::date is null or s.day <= $last::date)
    group by s.metric, s.metric_version, t.app, t.session_id
)

select
    metric,
    metric_version,
    min(first_day) as first_day,
    max(last_day) as last_day,
    sum(n)::bigint as n,
    sum(yes)::bigint as yes,
    count(*) as n_sessions,
    sum(n * n)::double as n_squared,
    sum(n * yes)::double as n_by_yes,
    sum(yes * yes)::double as yes_squared
from sessions
group by metric, metric_version
order by metric, metric_version

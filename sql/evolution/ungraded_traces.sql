-- One row a trace of the days that nobody has decided on or been asked about, of the $most that are
-- most and the $most that are least worth grading. Its priority is the sum, over the metrics that
-- speak against it, of the share of traces that each of them passes: much where metrics that seldom
-- speak up do (EvalGen, 2404.12272).
-- given: directions(metric varchar, label varchar)
-- given: queued(trace_id varchar, content_hash varchar)
-- $first, $last: UTC days, both included; $most: traces of each end; $app: null is all of them
with said as (
    select
        s.day,
        s.trace_id,
        s.content_hash,
        s.metric,
        bool_or(lower(s.label) = d.label) as is_against
    from current_scores as s
    inner join directions as d on d.metric = s.metric
    where s.day between $first and $last and lower(s.label) in ('true', 'false')
    group by all
),

rates as (
    select metric, avg(if(is_against, 0, 1)) as pass_rate
    from said
    group by metric
),

ungraded as (
    select
        s.trace_id,
        s.content_hash,
        s.day,
        any_value(t.app) as app,
        coalesce(sum(r.pass_rate) filter (where s.is_against), 0) as priority,
        coalesce(list(s.metric order by s.metric) filter (where s.is_against), []) as against
    from said as s
    inner join rates as r on r.metric = s.metric
    inner join traces as t
        on t.day = s.day and t.trace_id = s.trace_id and t.content_hash = s.content_hash
        and t.is_current
    anti join standing_words as d
        on d.trace_id = s.trace_id and d.content_hash = s.content_hash
    anti join queued as q on q.trace_id = s.trace_id and q.content_hash = s.content_hash
    anti join sensitive_traces as x on x.trace_id = s.trace_id
    where $app::varchar is null or t.app = $app
    group by s.trace_id, s.content_hash, s.day
),

ranked as (
    select
        *,
        row_number() over (
            order by priority desc, unit_hash(trace_id, 'grade'), trace_id
        ) as from_top,
        row_number() over (order by priority, unit_hash(trace_id, 'grade'), trace_id) as from_bottom
    from ungraded
)

select trace_id, content_hash, app, day, priority, against
from ranked
where from_top <= $most or from_bottom <= $most
order by from_top

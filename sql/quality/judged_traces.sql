-- One row a current, eligible trace with a verdict: what the judge said, what people said, and by
-- what chance they were asked. `is_counted` are those of the days; the others have a label of
-- unknown chance, which says how the judge errs. Of a day on which its judge had learnt any trace,
-- only the holdout speaks, which is never learnt and was split off by hash.
-- $first, $last: UTC days, both included; null is without a bound
-- given: queued(day date, trace_id varchar, content_hash varchar, draw_probability double,
-- audit_probability double, is_open boolean, is_panel boolean)
-- given: learnt(judge varchar, trace_id varchar)
with drawn as (select * from queued where not is_panel),

learnt_days as (
    select distinct t.day
    from traces as t
    inner join learnt as k on k.trace_id = t.trace_id
    -- A run names all who read: the judge, a generative one after it, and the adapter of that.
    inner join current_runs as r
        on r.day = t.day and r.metric = 'perceived_error'
        and list_contains(string_split(r.judge, '+'), k.judge)
    where t.is_current and t.is_eligible
)

select
    t.trace_id,
    t.app,
    t.app || ' / ' || t.session_id as session,
    t.day,
    coalesce(t.release, '') as release,
    s.judge_version,
    s.probability,
    l.perceived_error,
    coalesce(l.is_audit, false) as is_audit,
    t.day in (select day from drawn) as is_queued_day,
    t.day in (
        select day from drawn group by day having not bool_or(is_open)
    ) as is_closed_day,
    -- Of what the audit drew; null elsewhere.
    q.audit_probability,
    -- Of what the queue drew, by either draw; null elsewhere.
    q.draw_probability,
    -- Of a label that came with its chance from elsewhere.
    if(q.trace_id is null and p.trace_id is null, l.draw_probability, null) as given_probability,
    -- Asked about because judges disagree, or at random of where they agree: neither says how often
    -- one errs on others.
    p.trace_id is not null and q.trace_id is null as is_of_panel,
    ($first::date is null or t.day >= $first::date)
    and ($last::date is null or t.day <= $last::date) as is_counted
from traces as t
inner join current_scores as s
    on s.trace_id = t.trace_id and s.content_hash = t.content_hash
    and s.metric = 'perceived_error' and s.span_id is null
left join labels as l
    on l.trace_id = t.trace_id and l.content_hash = t.content_hash
    -- A panel of judges is no measure of a judge.
    and l.source <> 'panel'
left join drawn as q on q.trace_id = t.trace_id and q.content_hash = t.content_hash
left join queued as p
    on p.trace_id = t.trace_id and p.content_hash = t.content_hash and p.is_panel
where t.is_current and t.is_eligible
    and (t.day not in (from learnt_days) or split_of(t.session_id, t.user_id) = 'holdout')
    and (is_counted or (
        l.perceived_error is not null and not l.is_audit and not is_of_panel and q.draw_probability is null
        and given_probability is null
    ))
order by t.day, t.trace_id

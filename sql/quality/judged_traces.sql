-- One row a current, eligible trace with a verdict: what the judge said, what people said, and how
-- the uniform audit came to it where it did.
-- $first, $last: UTC days, both included; null is without a bound
-- given: queued(day date, trace_id varchar, content_hash varchar, audit_probability double)
select
    t.app,
    t.app || ' / ' || t.session_id as session,
    t.day,
    s.judge_version,
    s.probability,
    l.perceived_error,
    coalesce(l.is_audit, false) as is_audit,
    t.day in (select day from queued) as is_queued_day,
    -- Of what the audit drew; null elsewhere.
    q.audit_probability
from traces as t
inner join current_scores as s
    on s.trace_id = t.trace_id and s.content_hash = t.content_hash
    and s.metric = 'perceived_error' and s.span_id is null
left join labels as l on l.trace_id = t.trace_id and l.content_hash = t.content_hash
left join queued as q
    on q.trace_id = t.trace_id and q.content_hash = t.content_hash
    and q.audit_probability is not null
where t.is_current and t.is_eligible
    and ($first::date is null or t.day >= $first::date)
    and ($last::date is null or t.day <= $last::date)
order by t.day, t.trace_id

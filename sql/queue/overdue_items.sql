-- One row a trace that nothing else drew, and that comes to people because the review of a metric is
-- overdue. Between the audits and the targeted ones by hash; `draw_probability` is that of any draw.
-- given: verdicts(trace_id varchar, content_hash varchar, chance double, is_questioned boolean)
-- given: chances(trace_id varchar, content_hash varchar, draw_probability double,
--     audit_probability double)
-- given: drawn(trace_id varchar, content_hash varchar)
-- $day: UTC day
with questioned as (
    select trace_id, content_hash, product(1 - chance) as missed
    from verdicts
    group by trace_id, content_hash
    having bool_or(is_questioned)
)

select
    q.trace_id,
    q.content_hash,
    t.app,
    'review_due' as reason,
    1 - unit_hash(q.trace_id, 'priority') as priority,
    1 - (1 - c.draw_probability) * q.missed as draw_probability,
    c.audit_probability,
    s.probability,
    s.judge_version,
    s.reason as judge_reason,
    s.reason_code as judge_reason_code,
    s.evidence_turn,
    null::varchar as similar
from questioned as q
inner join chances as c on c.trace_id = q.trace_id and c.content_hash = q.content_hash
inner join traces as t
    on t.day = $day and t.trace_id = q.trace_id and t.content_hash = q.content_hash
inner join current_scores as s
    on s.trace_id = q.trace_id and s.content_hash = q.content_hash
    and s.metric = 'perceived_error' and s.span_id is null
left join drawn as d on d.trace_id = q.trace_id and d.content_hash = q.content_hash
where s.day = $day and d.trace_id is null
order by priority desc, q.trace_id

-- One row a trace that a panel hands to people, with the verdict in force on it: as it is now, and
-- before any person has said anything of it that stands.
-- given: wanted(trace_id varchar, content_hash varchar)
select
    t.trace_id,
    t.content_hash,
    t.app,
    t.day,
    s.probability,
    s.judge_version,
    s.reason as judge_reason,
    s.reason_code as judge_reason_code,
    s.evidence_turn
from wanted as w
inner join traces as t
    on t.trace_id = w.trace_id and t.content_hash = w.content_hash and t.is_current
left join current_scores as s
    on s.trace_id = t.trace_id and s.content_hash = t.content_hash
    and s.metric = 'perceived_error' and s.span_id is null
anti join standing_words as d on d.trace_id = t.trace_id and d.content_hash = t.content_hash
order by t.trace_id

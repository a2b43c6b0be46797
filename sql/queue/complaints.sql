-- One row a trace, as it is now, of which an end user says last that it was bad (a value of 0 or
-- less), with the verdict in force on it; the newest complaint first.
select
    t.trace_id,
    t.content_hash,
    t.app,
    t.day,
    max(f.given_at) as complained_at,
    any_value(s.probability) as probability,
    any_value(s.judge_version) as judge_version,
    any_value(s.reason) as judge_reason,
    any_value(s.reason_code) as judge_reason_code,
    any_value(s.evidence_turn) as evidence_turn
from standing_feedback as f
inner join traces as t on t.trace_id = f.trace_id and t.is_current
left join current_scores as s
    on s.trace_id = t.trace_id and s.content_hash = t.content_hash
    and s.metric = 'perceived_error' and s.span_id is null
anti join standing_words as d on d.trace_id = t.trace_id and d.content_hash = t.content_hash
where f.source = 'end_user' and f.value <= 0
group by t.trace_id, t.content_hash, t.app, t.day
order by complained_at desc, t.trace_id

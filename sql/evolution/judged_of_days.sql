-- One row a trace that could have been flagged, eligible and with a verdict or a label of people, and
-- whether it is: as in flagged_traces.
-- $first, $last: UTC days, both included
select
    t.trace_id,
    t.app || ' / ' || t.session_id as session,
    t.day,
    coalesce(l.perceived_error, s.probability >= 0.5) as is_flagged
from traces as t
left join current_labels as l
    on l.trace_id = t.trace_id and l.content_hash = t.content_hash
left join current_scores as s
    on s.day = t.day and s.trace_id = t.trace_id and s.content_hash = t.content_hash
    and s.metric = 'perceived_error' and s.span_id is null
where t.day between $first and $last and t.is_current and t.is_eligible
    and coalesce(l.perceived_error, s.probability >= 0.5) is not null
    and t.trace_id not in (select trace_id from sensitive_traces)
order by t.day, t.trace_id

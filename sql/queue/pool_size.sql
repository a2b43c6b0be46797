-- One row: how many traces of the day could be drawn, current, eligible and with a verdict.
-- $day: UTC day
select count(*)
from traces as t
inner join current_scores as s
    on s.trace_id = t.trace_id and s.content_hash = t.content_hash
    and s.metric = 'perceived_error' and s.span_id is null
where t.day = $day and s.day = $day and t.is_current and t.is_eligible

-- One row a trace with a score of this metric in force: its value, or 1 and 0 for yes and no.
-- $metric: as scores name it; $first: the first UTC day
select
    s.trace_id,
    coalesce(
        s.value, case lower(s.label) when 'true' then 1.0 when 'false' then 0.0 end
    ) as value
from current_scores as s
where s.metric = $metric and s.span_id is null and s.day >= $first
    and coalesce(s.value, case lower(s.label) when 'true' then 1.0 when 'false' then 0.0 end)
    is not null
order by s.trace_id

-- One row a trace that was drawn for the expensive tiers, of those between two ids of the day.
-- $day: UTC day; $first, $last: trace ids, both included
select trace_id
from samples
where day = $day and trace_id between $first and $last
order by trace_id

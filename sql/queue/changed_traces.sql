-- One row a trace of the day that was there in another version before: its version of now.
-- $day: UTC day
select t.trace_id, t.content_hash
from traces as t
where t.day = $day and t.is_current
    and exists (select 1 from traces as o where o.trace_id = t.trace_id and not o.is_current)
order by t.trace_id

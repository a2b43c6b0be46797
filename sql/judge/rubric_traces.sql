-- One row a sampled trace of the day that a rubric may read, by a hash of the trace id, so that the
-- first n are a part of the first n + 1.
-- $day: UTC day
select t.trace_id
from samples as s
inner join traces as t
    on t.day = s.day and t.trace_id = s.trace_id and t.content_hash = s.content_hash
where s.day = $day and t.is_current and t.is_eligible
order by unit_hash(t.trace_id, 'rubric'), t.trace_id

-- One row a sampled, eligible trace of the day, for which examples are looked up.
-- $day: UTC day
select
    t.trace_id,
    t.content_hash,
    nullif(t.user_id, '') as user_id
from samples as s
inner join traces as t
    on t.day = s.day and t.trace_id = s.trace_id and t.content_hash = s.content_hash
where s.day = $day and t.is_current and t.is_eligible
order by t.trace_id

-- One row a trace of the day, of at most $most: what its user said first.
-- $day: UTC day; $most: how many traces, the same whenever it is asked; $max_chars: of the text
select
    t.trace_id,
    t.content_hash,
    t.app,
    t.app || ' / ' || t.session_id as session,
    left(m.content, $max_chars) as request
from traces as t
inner join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
    and m.role = 'user' and m.content <> ''
where t.day = $day and t.is_current
qualify row_number() over (partition by t.trace_id order by m.position) = 1
order by unit_hash(t.trace_id, 'drift'), t.trace_id
limit $most

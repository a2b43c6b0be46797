-- One row a current trace of the day, with its turns (messages of people and the assistant) in order.
-- $day: UTC day
select
    t.trace_id,
    t.content_hash,
    t.session_id,
    t.app,
    list({'position': m.position, 'role': m.role, 'content': m.content} order by m.position)
        filter (where m.role is not null) as turns
from traces as t
left join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
    and m.role in ('user', 'assistant') and m.content <> ''
where t.day = $day and t.is_current
group by all
order by t.trace_id

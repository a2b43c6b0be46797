-- One row a message of a wanted version of a trace, those of a version together and in order.
-- given: wanted(trace_id varchar, content_hash varchar)
select
    m.trace_id,
    m.content_hash,
    m.role,
    m.content,
    m.tool_calls,
    m.tool_call_id,
    m.name
from traces as t
inner join wanted as w on w.trace_id = t.trace_id and w.content_hash = t.content_hash
inner join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
order by m.trace_id, m.content_hash, m.position

-- One row a message of a wanted trace, in order.
-- given: wanted(trace_id varchar, content_hash varchar)
select
    m.trace_id,
    m.position,
    m.role,
    left(m.content, 4000) as content,
    m.tool_calls::varchar as tool_calls,
    m.tool_call_id,
    m.name
from messages as m
inner join wanted as w on w.trace_id = m.trace_id and w.content_hash = m.content_hash
order by m.trace_id, m.position

-- One row a current trace that is wanted, with the messages that a judge may read, in order.
-- given: wanted(trace_id varchar)
-- $day: UTC day that they are of; null is any
-- $with_tools: whether tool calls and their results are among the messages
select
    t.trace_id,
    t.content_hash,
    t.session_id,
    t.app,
    list({
        'position': m.position,
        'role': m.role,
        'text': m.content,
        'tool_calls': if($with_tools, m.tool_calls, null),
        'tool_call_id': if($with_tools, m.tool_call_id, null)
    } order by m.position) filter (where m.role is not null) as messages
from traces as t
inner join wanted as w on w.trace_id = t.trace_id
left join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
    and ((m.role in ('user', 'assistant') and m.content <> '')
        or ($with_tools and (m.role = 'tool' or m.tool_calls is not null)))
    and ($day::date is null or m.day = $day)
where t.is_current and ($day::date is null or t.day = $day)
group by all
order by t.trace_id

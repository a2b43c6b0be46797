-- One row a current trace of the day, with the messages that a judge may read, in order.
-- $day: UTC day
-- $after, $limit: the first `$limit` traces whose id is behind `$after`; null is from the first, all
-- $apps: applications; $is_rest: whether all but these are meant
-- $with_tools: whether tool calls and their results are among the messages
with page as (
    select trace_id, content_hash, session_id, app
    from traces
    where day = $day and is_current and ($after::varchar is null or trace_id > $after)
        and $is_rest <> list_contains($apps::varchar[], app)
    order by trace_id
    limit $limit
)

select
    p.trace_id,
    p.content_hash,
    p.session_id,
    p.app,
    list({
        'position': m.position,
        'role': m.role,
        'text': m.content,
        'tool_calls': if($with_tools, m.tool_calls, null),
        'tool_call_id': if($with_tools, m.tool_call_id, null)
    } order by m.position) filter (where m.role is not null) as messages
from page as p
left join messages as m
    on m.trace_id = p.trace_id and m.content_hash = p.content_hash
    -- Whatever the page is, so that only its own part of the messages is read.
    and m.day = $day
    and ((m.role in ('user', 'assistant') and m.content <> '')
        or ($with_tools and (m.role = 'tool' or m.tool_calls is not null)))
group by all
order by p.trace_id

-- A view: one row a node of a trace, as its messages tell. `content` is what the node gave.
-- An assistant's call of a tool is a tool_call, with the result that follows by its id or, without
-- one, in turn; a result that nobody called for is one too. The result of a tool whose name is LIKE
-- one of the variable `tools` is a retriever. Text of the assistant is a code_generator where it
-- has a fenced block, a classifier where it is one short line or JSON with a label, else a writer.
-- Text of the user is an input.
with structured as (
    select
        *,
        sum((role = 'assistant' and tool_calls is not null)::integer) over (
            partition by trace_id order by position
        ) as block
    from messages
    where tool_calls is not null or role in ('tool', 'function')
),

calls as (
    select
        trace_id,
        position,
        block,
        unnest(json_extract(tool_calls, '$[*]')) as call,
        unnest(range(1, len(json_extract(tool_calls, '$[*]')) + 1)) as n,
        call->>'$.id' as id,
        coalesce(call->>'$.function.name', call->>'$.name') as tool,
        coalesce(call->>'$.function.arguments', call->>'$.arguments') as arguments
    from structured
    where role = 'assistant' and tool_calls is not null
),

results as (
    select
        trace_id,
        position,
        content,
        name,
        tool_call_id,
        block,
        row_number() over (partition by trace_id, block order by position) as n
    from structured
    where role in ('tool', 'function')
),

-- By id first; an id that comes again is that of the call before it.
by_id as (
    select r.trace_id, r.position, max(c.position) as call_position, arg_max(c.n, c.position) as n
    from results as r
    inner join calls as c
        on c.trace_id = r.trace_id and c.id = r.tool_call_id and c.position < r.position
    group by r.trace_id, r.position
),

answered as (
    select
        r.trace_id,
        r.position,
        r.content,
        r.name,
        coalesce(i.call_position, c.position) as call_position,
        coalesce(i.n, c.n) as n
    from results as r
    left join by_id as i on i.trace_id = r.trace_id and i.position = r.position
    left join calls as c
        on c.trace_id = r.trace_id and c.block = r.block and c.n = r.n and i.n is null
        and (r.tool_call_id is null or c.id is null)
),

tool_calls as (
    select
        coalesce(c.trace_id, a.trace_id) as trace_id,
        coalesce(c.position, a.position) as position,
        coalesce(c.tool, a.name) as tool,
        c.arguments,
        c.trace_id is not null as is_called,
        a.position as result_position,
        a.content
    from calls as c
    full outer join answered as a
        on a.trace_id = c.trace_id and a.call_position = c.position and a.n = c.n
),

texts as (
    select
        trace_id,
        position,
        content,
        case
            when role = 'user' then 'input'
            when contains(content, '```') then 'code_generator'
            when length(content) <= 40 and not contains(trim(content), chr(10))
                and not regexp_matches(content, '[.!?。！？…]') then 'classifier'
            when length(content) <= 2000 and regexp_matches(content, '^\s*\{')
                and regexp_matches(content, '"(?:label|class|category|intent)"\s*:')
                then 'classifier'
            else 'writer'
        end as node
    from messages
    where role in ('user', 'assistant') and regexp_matches(content, '\S')
)

select
    trace_id,
    position,
    node,
    content,
    null::varchar as tool,
    null::varchar as arguments,
    null::boolean as is_called,
    null::integer as result_position
from texts
union all
select trace_id, position, 'tool_call', content, tool, arguments, is_called, result_position
from tool_calls
union all
select
    trace_id, result_position, 'retriever', content, tool, arguments, is_called, result_position
from tool_calls
where content is not null and list_bool_or(
    list_transform(getvariable('tools')::varchar[], lambda pattern: lower(tool) like pattern)
)

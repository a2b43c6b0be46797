-- One row a trace with calls of tools: the share of them that failed.
-- A call failed whose arguments are no JSON, that got no result though the trace goes on, or whose
-- result says in its first 600 characters that it is an error.
-- name: failed_tool_call
-- level: trace
-- node: tool_call
-- direction: lower_is_better
-- owner: flywheel
-- review_due: 2027-06-01
with lasts as (
    select trace_id, max(position) as last_position from messages group by trace_id
),

-- A result is often wrapped: the name of the tool, a fence, an envelope of JSON.
judged as (
    select
        n.trace_id,
        n.position,
        n.tool,
        left(n.content, 600) as opening,
        case
            when n.arguments is not null and not json_valid(n.arguments) then 'its arguments are no JSON'
            when n.is_called and n.content is null and n.position < l.last_position then 'it got no result'
            when regexp_matches(
                opening,
                -- The result of a program, of an interface, and of a browser or terminal.
                '(?i)^\W{0,20}(?:\[[^\]\n]{1,60}\]\s*)?(?:(?:an? |internal |fatal |unknown )?error(?: \w+)?\s?[:(-]|error$'
                || '|traceback \(most recent call last\)|[a-z_.]*(?:error|exception): |exception\b|failed\b|failure\b'
                || '|<tool_use_error>|command not found|permission denied|no such file|access denied|unauthorized)'
                || '|(?m:^(?:\[[^\]\n]{1,60}\] )?(?:process )?exit(?:ed with)?(?: exit)? ?code:? [1-9])'
                || '|<tool_use_error>|\n\W{0,8}error: |: command not found$'
                || '|"(?:error|errors|error_message|is_error|iserror)"\s*:\s*(?:true|"[^"]|\{\s*"|\[\s*["{])'
                || '|"(?:success|ok)"\s*:\s*false|"status"\s*:\s*"?(?:error|failed|failure|[45]\d\d)\b'
            ) then 'its result is an error'
        end as why
    from nodes as n
    inner join lasts as l on l.trace_id = n.trace_id
    where n.node = 'tool_call'
)

select
    trace_id,
    count(why) / count(*) as value,
    count(why) > 0 as label,
    if(
        count(why) = 0,
        'All ' || count(*) || ' calls of tools worked',
        count(why) || ' of ' || count(*) || ' calls of tools failed, first '
        || left(coalesce(arg_min(tool, position) filter (where why is not null), 'one'), 40) || ': '
        || min_by(why, position)
    ) as reason,
    min(position) filter (where why is not null) as evidence_turn
from judged
group by trace_id

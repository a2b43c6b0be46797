-- One row a trace with calls of tools: how often one was made again, word for word, that had given
-- the same result before: nothing can have been learnt from it.
-- name: repeated_tool_call
-- level: trace
-- node: tool_call
-- direction: lower_is_better
-- owner: flywheel
-- review_due: 2027-06-01
with calls as (
    select
        trace_id,
        position,
        tool,
        row_number() over (
            partition by trace_id, tool, coalesce(json(try_cast(arguments as json)), arguments), content
            order by position
        ) > 1 as is_again
    from nodes
    where node = 'tool_call' and is_called
)

select
    trace_id,
    count(*) filter (where is_again) as value,
    bool_or(is_again) as label,
    if(
        bool_or(is_again),
        count(*) filter (where is_again) || ' calls were made again with the same result, first '
        || left(coalesce(arg_min(tool, position) filter (where is_again), 'one'), 40),
        'No call was made again with the same result'
    ) as reason,
    min(position) filter (where is_again) as evidence_turn
from calls
group by trace_id

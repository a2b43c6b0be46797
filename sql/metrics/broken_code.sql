-- One row a trace with code in fences: the share of its messages with code that breaks off, which
-- means a fence that is never closed, or brackets that do not pair up in a block of Python or JSON.
-- In other languages people quote half a block. Strings and comments of Python are left out.
-- name: broken_code
-- level: trace
-- node: code_generator
-- direction: lower_is_better
-- owner: flywheel
-- review_due: 2027-06-01
with written as (
    select trace_id, position, left(content, 40000) as content, length(content) <= 40000 as is_whole
    from nodes
    where node = 'code_generator'
),

blocks as (
    select
        trace_id,
        position,
        is_whole and len(regexp_extract_all(content, '(?m)^[ \t>]*```')) % 2 = 1 as is_open,
        list_transform(
            regexp_extract_all(
                content, '(?s)```[ \t]*(?:python3?|py|json)[ \t]*\n(.*?)\n[ \t]*```', 1, 'i'
            ),
            lambda block: regexp_replace(
                block,
                '(?s)""".*?"""|''''''.*?''''''|"(?:\\.|[^"\\\n])*"|''(?:\\.|[^''\\\n])*''|#[^\n]*',
                '',
                'g'
            )
        ) as codes
    from written
),

judged as (
    select
        trace_id,
        position,
        is_open,
        len(list_filter(
            codes,
            lambda code: length(replace(code, '(', '')) <> length(replace(code, ')', ''))
                or length(replace(code, '[', '')) <> length(replace(code, ']', ''))
                or length(replace(code, '{', '')) <> length(replace(code, '}', ''))
        )) > 0 as is_unbalanced
    from blocks
)

select
    trace_id,
    count(*) filter (where is_open or is_unbalanced) / count(*) as value,
    bool_or(is_open or is_unbalanced) as label,
    case
        when bool_or(is_open) then 'A block of code is never closed'
        when bool_or(is_unbalanced) then 'Brackets do not pair up in a block of code'
        else 'All blocks are closed, and brackets pair up'
    end as reason,
    min(position) filter (where is_open or is_unbalanced) as evidence_turn
from judged
group by trace_id

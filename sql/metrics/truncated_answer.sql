-- One row a trace with an answer in prose of 200 characters or more: whether its last such answer
-- breaks off, in the middle of a sentence or on a word that cannot end one.
-- name: truncated_answer
-- level: trace
-- node: writer
-- direction: lower_is_better
-- owner: flywheel
-- review_due: 2027-06-01
with lasts as (
    select
        trace_id,
        max(position) as position,
        right(rtrim(arg_max(content, position), ' ' || chr(9) || chr(10) || chr(13)), 300) as ending
    from nodes
    where node = 'writer' and length(content) >= 200
    group by trace_id
),

judged as (
    select
        *,
        regexp_extract(ending, '[^\n]*$') as last_line,
        -- A line of a list, a heading, a table, an address or a name after a dash ends as it likes.
        not regexp_matches(last_line, '^\s*(?:[-*•|#>]|\d{1,3}[.)])|https?://\S+$|^\s*[-–—]')
        and (
            regexp_matches(last_line, '[,;([{„“‘]$')
            or regexp_matches(
                lower(last_line),
                '(?:^|\s)(?:the|a|an|and|or|of|to|for|with|in|on|at|by|from|is|are|was|were|that|which|if|but|as|your|my|our'
                || '|der|die|das|und|oder|von|mit|für|ist|le|la|les|et|ou|de|des|el|los|las|y|o|que|con|para|e|di|che|per)$'
            )
            or (length(last_line) >= 120 and regexp_matches(last_line, '[\pL\pN]$'))
        ) as is_cut
    from lasts
)

select
    trace_id,
    is_cut::integer as value,
    is_cut as label,
    if(is_cut, 'The last answer breaks off: “…' || right(last_line, 40) || '”', 'The last answer has an end') as reason,
    position as evidence_turn
from judged

-- One row a trace whose assistant answered after its last lookup: the share of the longer words of
-- that answer that stand in what was retrieved before it.
-- Words have five letters or more; where words are not spaced, two neighbouring characters are one.
-- name: unused_retrieval
-- level: trace
-- node: retriever
-- direction: higher_is_better
-- owner: flywheel
-- review_due: 2027-06-01
with lookups as (
    select
        trace_id,
        max(position) as position,
        string_agg(lower(left(content, 20000)), ' ' order by position) as found
    from nodes
    where node = 'retriever'
    group by trace_id
    -- Who found nothing has nothing to use.
    having length(found) >= 40
),

answers as (
    select
        m.trace_id,
        min(m.position) as position,
        lower(left(arg_min(m.content, m.position), 4000)) as answer,
        any_value(l.found) as found
    from messages as m
    inner join lookups as l on l.trace_id = m.trace_id and m.position > l.position
    where m.role = 'assistant' and m.tool_calls is null and length(m.content) >= 40
    group by m.trace_id
),

words as (
    select
        *,
        list_distinct(regexp_extract_all(
            answer, '[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]{2}|[\pL\pM\pN]{5,}'
        )) as said
    from answers
),

shares as (
    select
        *,
        len(list_filter(said, lambda word: contains(found, word))) as n_shared,
        len(said) as n_said
    from words
    where len(said) >= 5
)

select
    trace_id,
    n_shared / n_said as value,
    n_shared > 0 as label,
    n_shared || ' of ' || n_said || ' longer words of the answer stand in what was retrieved' as reason,
    position as evidence_turn
from shares

-- One row a trace with an answer in prose: the largest share of an answer that says again what
-- another of its sentences said word for word, from 0 to 1. Sentences of 40 bytes or more count, in the
-- first 20,000 characters of an answer, and an answer has to have three of them.
-- name: repetitive_answer
-- level: trace
-- node: writer
-- direction: lower_is_better
-- owner: flywheel
-- review_due: 2027-06-01
with split as (
    select
        trace_id,
        position,
        list_filter(
            list_transform(
                string_split_regex(lower(left(content, 20000)), '[.!?。！？…]+\s*|\n+'),
                lambda sentence: trim(sentence)
            ),
            lambda sentence: strlen(sentence) >= 40
        ) as sentences
    from nodes
    where node = 'writer'
),

shares as (
    select
        trace_id,
        position,
        len(sentences) as n,
        1 - len(list_distinct(sentences)) / len(sentences) as share
    from split
    where len(sentences) >= 3
)

select
    trace_id,
    max(share) as value,
    max(share) >= 0.3 as label,
    if(
        max(share) = 0,
        'No answer says a sentence twice',
        round(100 * max(share))::integer || ' % of an answer of ' || arg_max(n, (share, -position))
        || ' sentences says again what it has said'
    ) as reason,
    arg_max(position, (share, -position)) as evidence_turn
from shares
group by trace_id

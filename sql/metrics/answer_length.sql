-- One row a trace with an answer: how many characters its answers have on average.
-- name: answer_length
-- level: trace
-- direction: neutral
-- owner: flywheel
-- review_due: 2027-06-01
select
    trace_id,
    avg(length(content)) as value,
    'answers: ' || count(*) || ', the longest of ' || max(length(content)) || ' characters' as reason,
    arg_max(position, (length(content), -position)) as evidence_turn
from messages
where role = 'assistant' and regexp_matches(content, '\S')
group by trace_id

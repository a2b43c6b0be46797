-- One row a trace with words of its user: how many characters its longest turn of the user has.
-- name: input_length
-- level: trace
-- node: input
-- direction: neutral
-- owner: flywheel
-- review_due: 2027-06-01
select
    trace_id,
    max(length(content)) as value,
    'turns of the user: ' || count(*) || ', the longest of ' || max(length(content)) || ' characters' as reason,
    arg_max(position, (length(content), -position)) as evidence_turn
from nodes
where node = 'input'
group by trace_id

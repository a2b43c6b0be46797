-- One row a trace whose assistant sorts things: the share of its labels that are none of `labels`.
-- A label is a short line without an end, or that of a JSON object with a key label, class, category
-- or intent.
-- name: unknown_label
-- level: trace
-- node: classifier
-- direction: lower_is_better
-- owner: flywheel
-- review_due: 2027-06-01
-- labels: yes, no
with given as (
    select
        trace_id,
        position,
        lower(trim(coalesce(
            try_cast(content as json)->>'$.label', try_cast(content as json)->>'$.class',
            try_cast(content as json)->>'$.category', try_cast(content as json)->>'$.intent', content
        ))) as label
    from nodes
    where node = 'classifier'
),

judged as (
    select
        *,
        list_contains(
            list_transform(getvariable('labels')::varchar[], lambda known: lower(known)), label
        ) as is_known
    from given
)

select
    trace_id,
    count(*) filter (where not is_known) / count(*) as value,
    not bool_and(is_known) as label,
    coalesce(
        'No label of the list: “' || left(arg_min(label, position) filter (where not is_known), 40) || '”',
        'All labels are of the list'
    ) as reason,
    min(position) filter (where not is_known) as evidence_turn
from judged
group by trace_id

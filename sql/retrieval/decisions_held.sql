-- One row: the newest decision that the labels speak of, and the ids before it that they do not.
-- Looked for among the last $window ids: a decision whose transaction was under way then comes later.
-- $window: number of ids
with newest as (
    select coalesce(max(decision_id), 0) as decision_id
    from decisions
),

looked_at as (
    select unnest(generate_series(greatest(1, decision_id - $window), decision_id)) as decision_id
    from newest
)

select
    n.decision_id,
    coalesce(
        (
            select list(w.decision_id order by w.decision_id)
            from looked_at as w
            anti join decisions as d on d.decision_id = w.decision_id
        ),
        []
    ) as missing
from newest as n

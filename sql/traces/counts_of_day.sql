-- One row: the day's current traces, eligible ones and messages, and the lines rejected from the
-- files that touched the day.
-- $day: UTC day
select
    count(*) as traces,
    count(*) filter (where is_eligible) as eligible,
    coalesce(sum(n_messages), 0)::bigint as messages,
    (
        select coalesce(sum(l.rejected), 0)::bigint
        from loaded_imports as l
        where list_contains(l.days, $day::date)
    ) as rejected
from traces
where day = $day and is_current

-- One row an eligible trace of the day that is drawn, by trace id. The stratum is the app's day, and
-- the draw a hash of the trace id, so that a lower rate draws a part of what a higher one draws.
-- $day: UTC day
-- $rate: share to draw, in (0, 1]
-- $min_per_stratum: expected number of traces that a stratum gives at least
with eligible as (
    select
        day,
        trace_id,
        content_hash,
        app || '/' || day as stratum,
        least(
            1.0, greatest($rate, $min_per_stratum::double / count(*) over (partition by app))
        )::double as inclusion_probability
    from traces
    where day = $day and is_current and is_eligible
)

select *
from eligible
where unit_hash(trace_id, 'sample') < inclusion_probability
order by trace_id

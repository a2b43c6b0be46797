-- One row a trace of the day that was drawn for the expensive tiers.
-- $day: UTC day
select trace_id from samples where day = $day order by trace_id

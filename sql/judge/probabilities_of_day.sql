-- One row a trace of the day with a verdict in use: its tier and probability.
-- $day: UTC day
select tier, probability
from current_scores
where day = $day and metric = 'perceived_error' and span_id is null and probability is not null
order by tier, probability, trace_id

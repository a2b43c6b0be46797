-- One row a label of the split with a verdict on the same version of its trace.
-- $split: train, validation, calibration or holdout
-- $largest_weight: cap on 1 / draw probability, so that one label does not outvote the rest
select
    l.app || ' / ' || l.session_id as session,
    l.perceived_error,
    s.probability,
    least(1 / coalesce(l.draw_probability, 1), $largest_weight) as weight
from current_labels as l
inner join current_scores as s
    on s.trace_id = l.trace_id and s.content_hash = l.content_hash
    and s.metric = 'perceived_error' and s.span_id is null
where l.split = $split and s.probability is not null
order by l.trace_id

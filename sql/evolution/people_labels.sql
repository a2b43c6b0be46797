-- One row a label of people of a trace that is still as it was labelled and not sensitive.
-- $largest_weight: cap on 1 / draw probability, so that one label does not outvote the rest
select
    l.trace_id,
    l.content_hash,
    l.app,
    l.app || ' / ' || l.session_id as session,
    l.split,
    l.perceived_error,
    coalesce(l.reason_code, 'none') as reason_code,
    coalesce(l.reason, '') as reason,
    least(1 / coalesce(l.draw_probability, 1), $largest_weight) as weight
from current_labels as l
anti join sensitive_traces as s on s.trace_id = l.trace_id
order by l.trace_id

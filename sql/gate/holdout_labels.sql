-- One row a label of the holdout, of a trace that is still as it was labelled.
select
    l.trace_id,
    l.session_id,
    l.user_id,
    l.perceived_error,
    l.is_audit,
    l.draw_probability
from current_labels as l
where l.split = 'holdout'
order by l.trace_id

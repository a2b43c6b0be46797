-- One row a label of the holdout, of a trace that is still as it was labelled.
select
    l.trace_id,
    l.session_id,
    l.user_id,
    l.perceived_error,
    l.is_audit,
    l.draw_probability
from labels as l
inner join traces as t
    on t.trace_id = l.trace_id and t.content_hash = l.content_hash and t.is_current
where l.split = 'holdout'
order by l.trace_id

-- One row a label of a trace that is still as it was labelled, outside the holdout and not sensitive.
select
    l.correction_id,
    l.trace_id,
    l.content_hash,
    l.app,
    l.session_id,
    l.user_id,
    l.split,
    l.perceived_error,
    l.reason_code,
    l.evidence_turn,
    l.draw_probability
from current_labels as l
anti join sensitive_traces as s on s.trace_id = l.trace_id
where l.split <> 'holdout'
order by l.trace_id

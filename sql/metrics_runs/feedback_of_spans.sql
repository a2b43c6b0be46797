-- One row a feedback that named a span alone and whose trace is known by now.
-- given: ledger_feedback(feedback_id bigint, trace_id varchar)
select f.feedback_id, f.trace_id
from feedback as f
inner join ledger_feedback as l on l.feedback_id = f.feedback_id
where l.trace_id = '' and f.trace_id <> ''
order by f.feedback_id

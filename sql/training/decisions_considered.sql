-- One row a decision that the labels were made from: also those of a second reviewer, in the holdout
-- or on a trace that has changed since. Those on a sensitive trace count when it is none any more.
select d.decision_id
from decisions as d
anti join sensitive_traces as s on s.trace_id = d.trace_id
where d.kind in ('decide', 'adjudicate')
order by d.decision_id

-- One row a decision that the labels were made from: also those of a second reviewer, in the holdout
-- or on a trace that has changed since.
select decision_id
from decisions
where kind = 'decide'
order by decision_id

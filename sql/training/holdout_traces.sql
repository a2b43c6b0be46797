-- One row a trace of the holdout that people have labelled, or a panel: nothing like it is learnt.
select trace_id
from labels
where split = 'holdout'
group by trace_id
order by trace_id

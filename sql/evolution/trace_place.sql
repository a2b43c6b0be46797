-- One row: the application and the day of a trace as it is now; none where there is no such trace.
-- $trace_id: the trace
select app, day
from traces
where is_current and trace_id = $trace_id
order by day desc
limit 1

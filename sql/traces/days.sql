-- One row a UTC day with at least one current trace, oldest first.
select distinct day
from traces
where is_current
order by day

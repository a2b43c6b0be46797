-- One row an application with current traces in the last days: the newest day of all, and how many
-- traces it has, those with the most first.
-- $days: how many days, the newest included
with newest as (select max(day) as day from traces where is_current)

select t.app, n.day as newest_day, count(*) as n_traces
from traces as t
cross join newest as n
where t.is_current and t.day > n.day - $days::integer
group by t.app, n.day
order by n_traces desc, t.app

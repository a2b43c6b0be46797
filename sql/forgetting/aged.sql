-- One row a trace of which no version is younger than its application allows; versions of a trace go
-- together. Spans of which no trace could be made, since none has a message, are as old as they are.
-- given: limits(app varchar, first_day date)
-- $first_day: the first day that stays, of applications without a limit of their own; null is all
select t.trace_id
from (
    select trace_id, app, day from traces
    union all
    select s.trace_id, s.app, s.day from spans as s anti join traces as t on t.trace_id = s.trace_id
) as t
left join limits as l on l.app = t.app
group by t.trace_id
having bool_and(coalesce(t.day < if(l.app is null, $first_day, l.first_day), false))
order by t.trace_id

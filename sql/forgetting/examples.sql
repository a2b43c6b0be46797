-- One row a decision on a trace that must go; examples are named by them.
-- given: gone(name varchar)
select decision_id::varchar as example_id from decisions where trace_id in (select name from gone)
union
select correction_id from labels where trace_id in (select name from gone)
union
select correction_id from corrections where trace_id in (select name from gone)
order by example_id

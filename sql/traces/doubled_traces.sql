-- One row a trace that has more than one current version, which an import never leaves.
select trace_id
from traces
where is_current
group by trace_id
having count(*) > 1
order by trace_id

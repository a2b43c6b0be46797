-- One row: how many rows of feedback speak of a trace that is not here.
select count(*)
from feedback as f
anti join traces as t on t.trace_id = f.trace_id

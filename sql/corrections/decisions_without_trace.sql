-- One row: on how many versions of traces a decision stands that the warehouse has not loaded.
select count(distinct (d.trace_id, d.content_hash))
from standing_decisions as d
anti join traces as t on t.trace_id = d.trace_id and t.content_hash = d.content_hash

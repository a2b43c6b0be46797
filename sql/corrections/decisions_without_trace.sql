-- One row: on how many versions of traces a decision stands that the warehouse has not loaded.
select count(distinct (w.trace_id, w.content_hash))
from standing_words as w
anti join traces as t on t.trace_id = w.trace_id and t.content_hash = w.content_hash

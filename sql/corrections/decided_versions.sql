-- One row a version of a trace on which a decision stands.
select distinct trace_id, content_hash
from standing_words
order by trace_id, content_hash

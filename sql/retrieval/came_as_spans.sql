-- One row a wanted version of a trace, and whether it came as spans.
-- given: wanted(trace_id varchar, content_hash varchar)
select
    w.trace_id,
    w.content_hash,
    coalesce(t.n_spans, 0) > 0 as has_spans
from wanted as w
inner join traces as t on t.trace_id = w.trace_id and t.content_hash = w.content_hash
order by w.trace_id

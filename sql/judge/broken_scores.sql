-- One row: how many scores no judge and no metric can have given.
select
    count(*) filter (where not probability between 0 and 1) as probability_out_of_bounds,
    (
        select count(*)
        from scores as s
        anti join traces as t on t.trace_id = s.trace_id and t.content_hash = s.content_hash
    ) as unknown_trace
from scores

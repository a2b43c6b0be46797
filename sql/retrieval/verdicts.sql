-- One row the judge's present verdict on a trace that is asked for.
-- given: wanted(trace_id varchar)
select
    s.trace_id,
    s.probability >= 0.5 as perceived_error
from current_scores as s
where s.metric = 'perceived_error' and s.probability is not null
    and s.trace_id in (select w.trace_id from wanted as w)
order by s.trace_id

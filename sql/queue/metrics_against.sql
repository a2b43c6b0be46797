-- One row a metric by code that speaks against a drawn trace; of a metric of turns, the first turn.
-- given: drawn(trace_id varchar, content_hash varchar)
-- given: directions(metric varchar, label varchar)
-- $day: UTC day
select s.trace_id, s.content_hash, s.metric, s.value, s.label
from current_scores as s
inner join drawn as d on d.trace_id = s.trace_id and d.content_hash = s.content_hash
inner join directions as r on r.metric = s.metric and r.label = lower(s.label)
where s.day = $day and s.kind = 'code'
qualify row_number() over (
    partition by s.trace_id, s.content_hash, s.metric
    order by s.evidence_turn nulls first, s.span_id
) = 1
order by s.trace_id, s.metric

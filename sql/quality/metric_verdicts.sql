-- One row a label of people with what a metric by code said of the same version of its trace.
-- given: directions(metric varchar, label varchar)
-- $largest_weight: cap on 1 / draw probability, so that one label does not outvote the rest
select
    s.metric,
    l.trace_id,
    l.perceived_error,
    bool_or(lower(s.label) = d.label) as is_against,
    least(1 / coalesce(any_value(l.draw_probability), 1), $largest_weight) as weight
from current_labels as l
inner join current_scores as s
    on s.trace_id = l.trace_id and s.content_hash = l.content_hash and s.kind = 'code'
inner join directions as d on d.metric = s.metric
where lower(s.label) in ('true', 'false')
group by s.metric, l.trace_id, l.perceived_error
order by s.metric, l.trace_id

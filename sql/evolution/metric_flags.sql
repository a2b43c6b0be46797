-- One row a label of people and a metric that says yes or no, by code or by rubric: whether it speaks
-- against the same version of the trace. A metric that is missing on a trace has no row.
-- given: directions(metric varchar, label varchar)
-- $largest_weight: cap on 1 / draw probability, so that one label does not outvote the rest
-- $app: null is all of them
select
    l.split,
    l.trace_id,
    l.content_hash,
    l.app || ' / ' || l.session_id as session,
    l.perceived_error,
    least(1 / coalesce(l.draw_probability, 1), $largest_weight) as weight,
    s.metric,
    bool_or(lower(s.label) = d.label) as is_against
from current_labels as l
inner join current_scores as s
    on s.trace_id = l.trace_id and s.content_hash = l.content_hash
inner join directions as d on d.metric = s.metric
where lower(s.label) in ('true', 'false') and ($app::varchar is null or l.app = $app)
group by all
order by l.split, l.trace_id, s.metric

-- One row a metric and a labelled trace that it has said something of, in the score in force: whether
-- it said yes or no of the trace or of any turn of it, and its value where it is of the whole trace.
select
    s.metric,
    s.metric_version,
    l.trace_id,
    bool_or(lower(s.label) = 'true') as has_true,
    bool_or(lower(s.label) = 'false') as has_false,
    any_value(s.value) filter (where s.span_id is null) as value
from current_labels as l
inner join current_scores as s
    on s.trace_id = l.trace_id and s.content_hash = l.content_hash
where s.metric <> 'perceived_error'
group by s.metric, s.metric_version, l.trace_id
order by s.metric, s.metric_version, l.trace_id

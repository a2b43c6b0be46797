-- One row a trace or a span and a name of feedback, on the trace's version of now: the mean of what
-- stands, and the last label and comment. People's word counts before a model's, and that before
-- code's.
insert into scores by name
with ranked as (
    select
        t.day,
        t.content_hash,
        f.*,
        case f.source when 'annotator' then 1 when 'end_user' then 1 when 'llm' then 2 else 3 end
            as place
    from standing_feedback as f
    inner join traces as t on t.trace_id = f.trace_id and t.is_current
),

of_the_best as (
    select *
    from ranked
    qualify place = min(place) over (partition by trace_id, coalesce(span_id, ''), name)
)

select
    day,
    trace_id,
    content_hash,
    span_id,
    'feedback:' || name as metric,
    '1' as metric_version,
    '' as judge_version,
    case min(place) when 1 then 'human' when 2 then 'llm' else 'code' end as kind,
    avg(value) as value,
    arg_max(label, (given_at, feedback_id)) as label,
    arg_max(comment, (given_at, feedback_id)) as reason
from of_the_best
group by day, trace_id, content_hash, span_id, name
order by day, trace_id, span_id, name

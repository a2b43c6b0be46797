-- One row a better answer that a person wrote elsewhere, with the version of its trace of now and the
-- answer that it is of: that of the span it names, else the last one.
select
    f.feedback_id,
    f.trace_id,
    t.content_hash,
    f.tool,
    f.author,
    f.comment,
    f.correction,
    f.given_at,
    coalesce(
        max(m.position) filter (
            where m.content = json_extract_string(s.output, '$[#-1].content')
        ),
        max(m.position)
    ) as position,
    coalesce(
        any_value(m.content) filter (
            where m.content = json_extract_string(s.output, '$[#-1].content')
        ),
        arg_max(m.content, m.position)
    ) as content
from standing_feedback as f
inner join traces as t on t.trace_id = f.trace_id and t.is_current
inner join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
    and m.role = 'assistant' and trim(m.content) <> ''
left join spans as s on s.trace_id = f.trace_id and s.span_id = f.span_id
where f.source = 'annotator' and f.correction is not null
group by all
order by f.feedback_id

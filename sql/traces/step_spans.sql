-- One row a span of a wanted trace, in the order in which they began.
-- given: wanted(trace_id varchar, content_hash varchar)
select
    s.trace_id,
    s.span_id,
    s.parent_id,
    s.kind,
    coalesce(s.tool_name, s.name) as name,
    s.status is not distinct from 'error' or s.error is not null as is_error,
    md5(s.input::varchar) as asked,
    left(s.output::varchar, 4000) as said,
    epoch_ms(s.ended_at) - epoch_ms(s.started_at) as ms,
    -- Where the model was told of tools.
    if(
        regexp_matches(s.metadata::varchar, '"[^"]*tools?[._a-z0-9]*"\s*:'),
        left(s.metadata::varchar, 200000), null
    ) as declared
from spans as s
inner join wanted as w on w.trace_id = s.trace_id
order by s.trace_id, s.started_at nulls last, s.import_id, s.line_no, s.rowid

-- One row a span of a wanted trace, those of a trace together and in the order in which they began;
-- spans without a time come last, as they came in. Times are microseconds since 1970.
-- given: wanted(trace_id varchar)
select
    s.app,
    s.trace_id,
    s.span_id,
    s.parent_id,
    s.kind,
    s.name,
    epoch_us(s.started_at) as started_us,
    epoch_us(s.ended_at) as ended_us,
    s.status,
    s.error,
    s.session_id,
    s.user_id,
    s.model_name,
    s.release,
    s.input::varchar as input,
    s.output::varchar as output,
    s.tool_name,
    s.tool_call_id,
    s.prompt_tokens,
    s.completion_tokens,
    s.cost_usd,
    s.tags,
    s.metadata::varchar as metadata
from spans as s
inner join wanted as w on w.trace_id = s.trace_id
order by s.trace_id, s.started_at nulls last, s.import_id, s.line_no, s.rowid

-- One row a version of a trace whose spans have changed and whose conversation is one that was seen:
-- that version is in force, and has what the spans say now.
-- given: parsed_rows(line_no bigint, trace_id varchar, content_hash varchar, status varchar,
--     release varchar, model_name varchar, cost_usd double, prompt_tokens bigint,
--     completion_tokens bigint, latency_ms double, n_spans integer, metadata varchar)
-- given: incoming_rows(line_no bigint, kind varchar)
update traces
set
    is_current = true,
    status = p.status,
    release = p.release,
    model_name = p.model_name,
    cost_usd = p.cost_usd,
    prompt_tokens = p.prompt_tokens,
    completion_tokens = p.completion_tokens,
    latency_ms = p.latency_ms,
    n_spans = p.n_spans,
    metadata = p.metadata
from parsed_rows as p
inner join incoming_rows as i on i.line_no = p.line_no
where i.kind = 'duplicate'
    and traces.trace_id = p.trace_id
    and traces.content_hash = p.content_hash

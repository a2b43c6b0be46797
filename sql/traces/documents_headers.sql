-- One row a wanted version of a trace, with what is known of it besides its messages.
-- given: wanted(trace_id varchar, content_hash varchar)
select
    t.trace_id,
    t.content_hash,
    t.app,
    t.day,
    t.session_id,
    t.user_id,
    t.started_at,
    t.model_name,
    t.release,
    t.cost_usd,
    t.latency_ms,
    t.prompt_tokens,
    t.completion_tokens,
    t.status,
    t.metadata
from traces as t
inner join wanted as w on w.trace_id = t.trace_id and w.content_hash = t.content_hash
order by t.trace_id, t.content_hash

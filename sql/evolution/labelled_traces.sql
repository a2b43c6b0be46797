-- One row a trace that is wanted, as a metric sees it, in a Parquet file.
-- given: wanted(trace_id varchar, content_hash varchar, place bigint)
-- $path: the file
copy (
    select
        t.trace_id, t.content_hash, t.app, t.session_id, t.user_id, t.day, t.started_at, t.ended_at,
        t.status, t.release, t.model_name, t.generator, t.cost_usd, t.prompt_tokens,
        t.completion_tokens, t.latency_ms, t.n_messages, t.metadata
    from traces as t
    inner join wanted as w on w.trace_id = t.trace_id and w.content_hash = t.content_hash
    where t.is_current
    order by w.place
) to $path (format parquet)

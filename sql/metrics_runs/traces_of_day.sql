-- One row a current trace of the day, as a metric sees it, in a Parquet file.
-- $day: UTC day; $path: the file
copy (
    select
        trace_id, content_hash, app, session_id, user_id, day, started_at, ended_at, status, release,
        model_name, generator, cost_usd, prompt_tokens, completion_tokens, latency_ms, n_messages,
        metadata
    from traces
    where day = $day and is_current
) to $path (format parquet)

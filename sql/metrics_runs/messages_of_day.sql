-- One row a message of a current trace of the day, as a metric sees it, in a Parquet file.
-- $day: UTC day; $path: the file
copy (
    select m.trace_id, m.position, m.role, m.content, m.tool_calls, m.tool_call_id, m.name
    from messages as m
    inner join traces as t
        on t.day = m.day and t.trace_id = m.trace_id and t.content_hash = m.content_hash
    where m.day = $day and t.is_current
) to $path (format parquet)

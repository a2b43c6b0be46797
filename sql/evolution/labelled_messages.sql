-- One row a message of a trace that is wanted, as a metric sees it, in a Parquet file.
-- given: wanted(trace_id varchar, content_hash varchar, place bigint)
-- $path: the file
copy (
    select m.trace_id, m.position, m.role, m.content, m.tool_calls, m.tool_call_id, m.name
    from messages as m
    inner join traces as t
        on t.day = m.day and t.trace_id = m.trace_id and t.content_hash = m.content_hash
    inner join wanted as w on w.trace_id = t.trace_id and w.content_hash = t.content_hash
    where t.is_current
    order by w.place, m.position
) to $path (format parquet)

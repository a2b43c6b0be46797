-- One row a trace and a user that it names, from all versions of the trace and its spans.
select trace_id, app, session_id, user_id from traces
union
select trace_id, app, coalesce(session_id, trace_id), user_id from spans
order by all

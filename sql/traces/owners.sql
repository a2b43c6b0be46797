-- One row a current trace, with its session and its user.
select trace_id, session_id, user_id from traces where is_current order by trace_id

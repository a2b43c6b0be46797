-- One row a current trace, with its session, its user and its day.
select trace_id, session_id, user_id, day from traces where is_current order by trace_id

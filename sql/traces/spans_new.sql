-- One row a span of the import, whether it is new or not; adds it.
-- given: new_spans(app varchar, trace_id varchar, span_id varchar, parent_id varchar, day date,
--     kind varchar, name varchar, started_at timestamp, ended_at timestamp, status varchar,
--     error varchar, session_id varchar, user_id varchar, model_name varchar, provider varchar,
--     release varchar, input varchar, output varchar, tool_name varchar, tool_call_id varchar,
--     prompt_tokens bigint, completion_tokens bigint, cost_usd double, tags varchar[],
--     metadata varchar, span_hash varchar, line_no bigint)
-- $import_id: the ledger's number of the import
insert into spans by name
select
    *,
    $import_id as import_id
from new_spans

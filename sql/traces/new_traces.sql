-- One row a trace, or a version of one, that the warehouse did not have; adds it.
-- given: parsed_rows(line_no bigint, trace_id varchar, content_hash varchar, app varchar,
--     session_id varchar, user_id varchar, started_at timestamp, ended_at timestamp,
--     status varchar, release varchar, model_name varchar, generator varchar, cost_usd double,
--     prompt_tokens bigint, completion_tokens bigint, latency_ms double, n_spans integer,
--     n_messages bigint,
--     is_eligible boolean, metadata varchar,
--     messages struct("role" varchar, content varchar)[], why varchar)
-- given: incoming_rows(line_no bigint, kind varchar, day date, started_at_source varchar)
-- $import_id: the ledger's number of the import
insert into traces by name
select
    p.* exclude (messages, why),
    -- traces/current_versions decides among the versions of a changed trace.
    i.kind = 'new' as is_current,
    i.day,
    i.started_at_source,
    $import_id as import_id
from parsed_rows as p
inner join incoming_rows as i on i.line_no = p.line_no
where i.kind <> 'duplicate'
order by p.line_no

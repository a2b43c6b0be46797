-- One row a message of a trace, or of a version of one, that the warehouse did not have; adds it.
-- given: parsed_rows(line_no bigint, trace_id varchar, content_hash varchar,
--     messages struct("role" varchar, content varchar, tool_calls varchar, tool_call_id varchar,
--         "name" varchar)[])
-- given: incoming_rows(line_no bigint, kind varchar, day date)
insert into messages by name
select
    i.day,
    p.trace_id,
    p.content_hash,
    generate_subscripts(p.messages, 1) - 1 as position,
    unnest(p.messages, recursive := true)
from parsed_rows as p
inner join incoming_rows as i on i.line_no = p.line_no
where i.kind <> 'duplicate'

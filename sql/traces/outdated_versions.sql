-- One row a version of a trace that was in force, and whose spans now give one that was seen before.
-- given: parsed_rows(line_no bigint, trace_id varchar, content_hash varchar)
-- given: incoming_rows(line_no bigint, kind varchar)
update traces
set is_current = false
from parsed_rows as p
inner join incoming_rows as i on i.line_no = p.line_no
where i.kind = 'duplicate'
    and traces.is_current
    and traces.trace_id = p.trace_id
    and traces.content_hash <> p.content_hash

-- One row a trace of which the import has brought something new, with the number of its spans, the
-- length of their text in bytes and the first line that speaks of it.
-- $import_id: the ledger's number of the import
select
    trace_id,
    count(*) as n_spans,
    sum(
        coalesce(strlen(input::varchar), 0) + coalesce(strlen(output::varchar), 0)
        + coalesce(strlen(metadata::varchar), 0)
    )::bigint as n_bytes,
    min(line_no) filter (where import_id = $import_id) as line_no
from spans
where trace_id in (select n.trace_id from spans as n where n.import_id = $import_id)
group by trace_id
order by line_no, trace_id

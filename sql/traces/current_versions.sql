-- One row a version of a trace that the import changed; the last one imported becomes the current one.
-- $import_id: the ledger's number of the import
update traces
set is_current = v.is_last
from (
    select
        trace_id,
        content_hash,
        row_number() over (partition by trace_id order by import_id desc, line_no desc) = 1 as is_last
    from traces
    where trace_id in (
        select t.trace_id from traces as t where t.import_id = $import_id and not t.is_current
    )
) as v
where traces.trace_id = v.trace_id
    and traces.content_hash = v.content_hash
    and traces.is_current <> v.is_last

-- One row a version of a trace that the import brought.
-- $import_id: the ledger's number of the import
select trace_id, content_hash
from traces
where import_id = $import_id
order by trace_id, content_hash

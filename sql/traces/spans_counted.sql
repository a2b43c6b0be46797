-- One row: how many traces the import speaks of, before what it repeats is removed.
-- $import_id: the ledger's number of the import
select count(distinct trace_id)
from spans
where import_id = $import_id

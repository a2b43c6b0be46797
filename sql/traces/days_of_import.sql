-- One row a UTC day that an import touched, oldest first.
-- $import_id: the ledger's number of the import
select unnest(days) as day
from loaded_imports
where import_id = $import_id
order by day

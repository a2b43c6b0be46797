-- One row: what became of an import; none where it is not loaded.
-- $import_id: the ledger's number of the import
select "read", "new", duplicate, changed
from loaded_imports
where import_id = $import_id

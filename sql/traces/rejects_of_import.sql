-- One row a line of the import that could not be used, by its number.
-- $import_id: the ledger's number of the import
select line_no, why
from rejected_rows
where import_id = $import_id
order by line_no

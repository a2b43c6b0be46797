-- One row a line of the file that could not be used; adds it.
-- given: rejected_lines(line_no bigint, why varchar)
-- $import_id: the ledger's number of the import
-- $file: as it was named at the import
insert into rejected_rows
select $import_id, $file, line_no, why
from rejected_lines
order by line_no

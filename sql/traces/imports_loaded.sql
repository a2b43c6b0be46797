-- One row an import that the warehouse has, by its number in the ledger.
select import_id
from loaded_imports
order by import_id

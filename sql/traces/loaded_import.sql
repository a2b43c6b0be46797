-- One row an import that is now loaded; adds it, before traces/current_versions has run.
-- $import_id: the ledger's number of the import
-- $read: lines of the file that are not blank
-- $usable: traces that the file has
-- $rejected: lines that could not be used
insert into loaded_imports by name
select
    $import_id as import_id,
    $read as "read",
    count(*) filter (where import_id = $import_id and is_current) as "new",
    $usable - count(*) filter (where import_id = $import_id) as duplicate,
    count(*) filter (where import_id = $import_id and not is_current) as changed,
    $rejected as rejected,
    -- A changed trace touches the days of its older versions too.
    coalesce(list(distinct day order by day), []) as days
from traces
where import_id = $import_id
    or trace_id in (
        select t.trace_id from traces as t where t.import_id = $import_id and not t.is_current
    )

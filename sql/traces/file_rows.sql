-- One row a line of the file as its format types it; every column is null where it is no object.
-- given: new_lines(line_no bigint, line varchar)
-- $columns: the format's columns with their types, as JSON
-- $known: the same columns, each null, as JSON; `rest` is the line without them
select
    line_no,
    unnest(from_json(document, $columns::varchar)),
    json_merge_patch(document, $known::json) as rest
from (
    select
        line_no,
        if(starts_with(line, '{'), try_cast(line as json), null) as document
    from new_lines
)
order by line_no

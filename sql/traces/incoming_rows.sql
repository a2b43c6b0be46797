-- One row a usable row of the file: whether it is new, changed or a duplicate, and its day.
-- given: parsed_rows(line_no bigint, trace_id varchar, content_hash varchar, started_at timestamp,
--     why varchar)
-- $day: UTC day of the import, or the one that was asked for
-- $is_asked: whether a person asked for that day
with ranked as (
    select
        line_no,
        trace_id,
        content_hash,
        started_at,
        row_number() over (partition by trace_id, content_hash order by line_no) as repetition,
        row_number() over (partition by trace_id order by line_no) as version,
        first_value(coalesce(started_at::date, $day::date))
            over (partition by trace_id order by line_no) as day_in_file
    from parsed_rows
    where why is null
),

seen as (
    select trace_id, content_hash, day, import_id, line_no
    from traces
    where trace_id in (select r.trace_id from ranked as r)
),

first_seen as (
    select trace_id, first(day order by import_id, line_no) as day
    from seen
    group by trace_id
)

select
    r.line_no,
    case
        when r.repetition > 1 or s.trace_id is not null then 'duplicate'
        when r.version > 1 or f.trace_id is not null then 'changed'
        else 'new'
    end as kind,
    -- Without a time and a wish, a trace stays on the day on which it was first seen.
    coalesce(
        r.started_at::date, if($is_asked, $day::date, null), f.day, r.day_in_file
    ) as day,
    case
        when r.started_at is not null then 'file'
        when $is_asked then 'day option'
        else 'import'
    end as started_at_source
from ranked as r
left join seen as s on s.trace_id = r.trace_id and s.content_hash = r.content_hash
left join first_seen as f on f.trace_id = r.trace_id
order by r.line_no

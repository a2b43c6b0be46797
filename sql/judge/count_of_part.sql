-- One row: how many current traces of the day are of some applications.
-- $day: UTC day; $apps: applications; $is_rest: whether all but these are meant
select count(*) as n
from traces
where day = $day and is_current and $is_rest <> list_contains($apps::varchar[], app)

-- One row a session or a user whose labels stand in more than one split, with the splits.
with members as (
    select 'session ' || session_id || ' of ' || app as name, split from labels
    union all
    select 'user ' || user_id, split from labels where coalesce(user_id, '') <> ''
)

select name || ': ' || string_agg(distinct split, ', ' order by split) as leak
from members
group by name
having count(distinct split) > 1
order by name

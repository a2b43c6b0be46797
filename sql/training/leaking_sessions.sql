-- One row a session or a user whose labels stand both in the holdout and outside it.
select name
from (
    select 'session ' || session_id as name, split from labels
    union all
    select 'user ' || user_id, split from labels where coalesce(user_id, '') <> ''
)
group by name
having bool_or(split = 'holdout') and bool_or(split <> 'holdout')
order by name

-- One row a current trace of a session, or of a user, that was given an arm, and when it was: what
-- ended well before that is left out, since the arm can have done nothing to it.
-- $app: null is all of them
-- $slack_s: seconds by which the clocks of who sends traces and of the ledger may differ
-- given: exposed(unit varchar, arm varchar, session_id varchar, user_id varchar, first_at timestamp)
with found as (
    select t.trace_id, t.day, t.ended_at, t.started_at, e.unit, e.arm, e.first_at, 1 as place
    from traces as t
    inner join exposed as e on e.session_id = t.session_id
    where t.is_current and ($app::varchar is null or t.app = $app)
    union all
    select t.trace_id, t.day, t.ended_at, t.started_at, e.unit, e.arm, e.first_at, 2 as place
    from traces as t
    inner join exposed as e on e.session_id is null and e.user_id = t.user_id
    where t.is_current and ($app::varchar is null or t.app = $app)
)

select trace_id, unit, arm
from found
where coalesce(ended_at, started_at, day + interval 1 day) >= first_at - to_seconds($slack_s)
-- Of one that is known by its session and by its user, the session speaks.
qualify row_number() over (partition by trace_id order by place, unit) = 1
order by trace_id

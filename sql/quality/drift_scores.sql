-- One row a trace of the sessions compared: its probability, and whether it is of the day itself. Of
-- an application and a side at most $most_sessions sessions, the same whenever it is asked.
-- $day: UTC day; $first: first UTC day that it is compared with; $most_sessions: count
with of_day as (
    select distinct t.app, split_part(s.judge_version, '/', 1) as judge
    from current_scores as s
    inner join traces as t
        on t.day = s.day and t.trace_id = s.trace_id and t.content_hash = s.content_hash
    where s.day = $day and s.metric = 'perceived_error' and s.span_id is null
)

select
    t.app,
    t.app || ' / ' || t.session_id as session,
    s.day,
    s.day = $day as is_today,
    s.probability
from current_scores as s
inner join traces as t
    on t.day = s.day and t.trace_id = s.trace_id and t.content_hash = s.content_hash
-- Another judge's probabilities are another scale; which one is in force differs by application.
inner join of_day as d on d.app = t.app and d.judge = split_part(s.judge_version, '/', 1)
where s.day between $first and $day
    and s.metric = 'perceived_error' and s.span_id is null and s.probability is not null
qualify dense_rank() over (
    partition by t.app, s.day = $day order by unit_hash(session, 'drift'), session
) <= $most_sessions
order by s.day, s.trace_id

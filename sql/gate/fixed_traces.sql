-- One row a labelled trace that the champion learnt from, and that another judge had got wrong: what
-- was put right before the champion's training.
-- given: learnt(decision_id bigint)
-- $champion: its version, whose own verdicts put nothing into the list
-- $apps: applications that they are of; an empty list is all
select
    l.trace_id,
    l.session_id,
    l.user_id,
    l.perceived_error
from current_labels as l
where l.split <> 'holdout'
    and (len($apps::varchar[]) = 0 or list_contains($apps, l.app))
    and exists (
        select 1
        from decisions as d
        inner join learnt as k on k.decision_id = d.decision_id
        where d.trace_id = l.trace_id and d.content_hash = l.content_hash
    )
    and exists (
        select 1
        from scores as s
        where s.day = l.day and s.trace_id = l.trace_id and s.content_hash = l.content_hash
            and s.metric = 'perceived_error' and s.span_id is null
            and not starts_with(s.judge_version, $champion)
            and (s.probability >= 0.5) <> l.perceived_error
    )
order by l.trace_id

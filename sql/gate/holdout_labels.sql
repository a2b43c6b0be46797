-- One row a label of the holdout, of a trace that is still as it was labelled, with the decisions that
-- stand behind it.
-- $apps: applications that they are of; an empty list is all
with words as (
    select trace_id, content_hash, list(decision_id order by decision_id) as ids
    from standing_words
    group by trace_id, content_hash
)

select
    l.trace_id,
    l.session_id,
    l.user_id,
    l.perceived_error,
    l.reason_code,
    l.is_audit,
    l.draw_probability,
    coalesce(w.ids, []::bigint[]) as decision_ids
from current_labels as l
left join words as w on w.trace_id = l.trace_id and w.content_hash = l.content_hash
where l.split = 'holdout' and (len($apps::varchar[]) = 0 or list_contains($apps, l.app))
order by l.trace_id

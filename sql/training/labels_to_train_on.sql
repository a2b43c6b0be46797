-- One row a label of a trace that is still as it was labelled, outside the holdout and not sensitive,
-- with the decisions that stand behind it. Those of a panel of judges teach and never calibrate.
-- $apps: applications that they are of; an empty list is all
with taught as (
    select * from current_labels where split <> 'holdout'
    union all by name
    select * from current_panel_labels where split in ('train', 'validation')
),

words as (
    select trace_id, content_hash, perceived_error, list(decision_id order by decision_id) as ids
    from standing_words
    group by trace_id, content_hash, perceived_error
)

select
    l.correction_id,
    l.trace_id,
    l.content_hash,
    l.app,
    l.session_id,
    l.user_id,
    l.split,
    l.perceived_error,
    l.reason_code,
    l.evidence_turn,
    l.draw_probability,
    l.source,
    coalesce(w.ids, []::bigint[]) as decision_ids
from taught as l
anti join sensitive_traces as s on s.trace_id = l.trace_id
left join words as w
    on w.trace_id = l.trace_id and w.content_hash = l.content_hash
    and w.perceived_error = l.perceived_error
where len($apps::varchar[]) = 0 or list_contains($apps, l.app)
order by l.trace_id

-- One row a label of a trace that is still as it was labelled and not sensitive: the better answer
-- where a person wrote one, the model that answered, and all messages. A panel's are never measured by.
-- $apps: applications that they are of; an empty list is all
-- $splits: splits that they are of
with decided as (
    select * from current_labels where list_contains($splits, split)
    union all by name
    select * from current_panel_labels
    where list_contains($splits, split) and split in ('train', 'validation')
),

words as (
    select trace_id, content_hash, perceived_error, list(decision_id order by decision_id) as ids
    from standing_words
    group by trace_id, content_hash, perceived_error
),

said as (
    select
        m.day,
        m.trace_id,
        m.content_hash,
        list({
            'position': m.position,
            'role': m.role,
            'content': m.content,
            'tool_calls': m.tool_calls::varchar,
            'tool_call_id': m.tool_call_id,
            'name': m.name
        } order by m.position) as messages
    from messages as m
    semi join decided as d
        on d.day = m.day and d.trace_id = m.trace_id and d.content_hash = m.content_hash
    group by m.day, m.trace_id, m.content_hash
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
    l.reason,
    l.evidence_turn,
    l.source,
    l.decided_at,
    coalesce(w.ids, []::bigint[]) as decision_ids,
    coalesce(t.generator, t.model_name, '') as generator,
    t.metadata::varchar as metadata,
    c.corrected_turn,
    c.corrected_text,
    c.corrected_tool_calls,
    s.messages
from decided as l
inner join traces as t
    on t.day = l.day and t.trace_id = l.trace_id and t.content_hash = l.content_hash
inner join said as s
    on s.day = l.day and s.trace_id = l.trace_id and s.content_hash = l.content_hash
left join words as w
    on w.trace_id = l.trace_id and w.content_hash = l.content_hash
    and w.perceived_error = l.perceived_error
left join current_corrections as c on c.correction_id = l.correction_id
anti join sensitive_traces as x on x.trace_id = l.trace_id
where len($apps::varchar[]) = 0 or list_contains($apps, l.app)
order by l.trace_id

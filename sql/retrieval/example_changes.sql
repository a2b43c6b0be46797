-- One row an example that the index lacks (`new`) or should no longer hold (`gone`).
-- An example stands while its label does, given by a person, in train or validation, on the current
-- version of a trace that is not sensitive. Any difference to what the index knows is one `gone` and one `new`.
-- given: known(correction_id varchar, trace_id varchar, content_hash varchar, session_id varchar,
--     user_id varchar, app varchar, perceived_error boolean, evidence_turn integer,
--     decided_at timestamp, corrected_text varchar, corrected_tool_calls varchar,
--     corrected_turn integer, original_tool_calls varchar, is_placed boolean)
with standing as (
    select
        l.correction_id,
        l.trace_id,
        l.content_hash,
        l.session_id,
        nullif(l.user_id, '') as user_id,
        l.app,
        l.perceived_error,
        l.evidence_turn,
        l.decided_at,
        c.corrected_text,
        c.corrected_tool_calls,
        c.corrected_turn,
        c.original_tool_calls,
        true as is_placed
    from current_labels as l
    left join current_corrections as c on c.correction_id = l.correction_id
    anti join sensitive_traces as s on s.trace_id = l.trace_id
    where l.split in ('train', 'validation') and l.source in ('human', 'adjudicated')
)

select 'new' as change, * from (select * from standing except select * from known)
union all
select 'gone' as change, * from (select * from known except select * from standing)
order by change, correction_id

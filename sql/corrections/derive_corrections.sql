-- One row a label whose side wrote a better answer, under the label's id: that of who settled it,
-- else the last one written.
insert into corrections by name
select
    l.correction_id,
    l.trace_id,
    l.content_hash,
    l.app,
    l.session_id,
    l.user_id,
    l.split,
    w.corrected_turn,
    m.content as original_text,
    cast(m.tool_calls as varchar) as original_tool_calls,
    w.corrected_text,
    w.corrected_tool_calls,
    w.reviewer,
    w.decided_at
from labels as l
inner join standing_words as w
    on w.trace_id = l.trace_id and w.content_hash = l.content_hash
    and w.perceived_error = l.perceived_error
    and w.corrected_turn is not null
    and coalesce(w.corrected_text, w.corrected_tool_calls) is not null
left join messages as m
    on m.day = l.day and m.trace_id = l.trace_id and m.content_hash = l.content_hash
    and m.position = w.corrected_turn
qualify row_number() over (
    partition by l.correction_id order by w.is_settling desc, w.decision_id desc
) = 1

-- One row a label whose side wrote a better answer: the last one written, under the label's id.
insert into corrections by name
select
    l.correction_id,
    l.trace_id,
    l.content_hash,
    l.app,
    l.session_id,
    l.user_id,
    l.split,
    d.corrected_turn,
    m.content as original_text,
    d.corrected_text,
    d.reviewer,
    d.decided_at
from labels as l
inner join standing_decisions as d
    on d.trace_id = l.trace_id and d.content_hash = l.content_hash
    and d.perceived_error = l.perceived_error
    and d.corrected_turn is not null and d.corrected_text is not null
left join messages as m
    on m.day = l.day and m.trace_id = l.trace_id and m.content_hash = l.content_hash
    and m.position = d.corrected_turn
qualify row_number() over (
    partition by l.correction_id order by d.decision_id desc
) = 1

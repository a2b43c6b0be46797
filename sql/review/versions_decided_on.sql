-- One row a line of a decision file: the version of the trace that it speaks of, the current one
-- where it names none, and whom it corrects.
-- given: wanted(line bigint, trace_id varchar, content_hash varchar, corrected_turn bigint)
with versions as (
    select
        w.line,
        w.trace_id,
        w.corrected_turn,
        c.trace_id is not null as is_known,
        if(w.content_hash is null, c.content_hash, n.content_hash) as content_hash,
        if(w.content_hash is null, c.day, n.day) as day,
        if(w.content_hash is null, c.n_messages, n.n_messages) as n_messages
    from wanted as w
    left join traces as c on c.trace_id = w.trace_id and c.is_current
    left join traces as n on n.trace_id = w.trace_id and n.content_hash = w.content_hash
)

select v.line, v.is_known, v.content_hash, v.n_messages, m.role as corrected_role
from versions as v
left join messages as m
    on m.day = v.day and m.trace_id = v.trace_id and m.content_hash = v.content_hash
    and m.position = v.corrected_turn
order by v.line

-- One row a wanted version of a trace that the warehouse has, with the length of its text in bytes.
-- given: wanted(trace_id varchar, content_hash varchar)
select
    t.trace_id,
    t.content_hash,
    coalesce(sum(strlen(m.content) + coalesce(strlen(m.tool_calls::varchar), 0)), 0)::bigint
        as n_bytes
from traces as t
inner join wanted as w on w.trace_id = t.trace_id and w.content_hash = t.content_hash
left join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
group by all
order by t.trace_id, t.content_hash

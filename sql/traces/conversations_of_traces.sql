-- One row a current trace that is wanted, with its turns in order.
-- given: wanted(trace_id varchar)
select
    t.trace_id,
    t.content_hash,
    t.session_id,
    t.app,
    list({'position': m.position, 'role': m.role, 'content': m.content} order by m.position)
        filter (where m.role is not null) as turns
from traces as t
inner join wanted as w on w.trace_id = t.trace_id
left join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
    and m.role in ('user', 'assistant') and m.content <> ''
where t.is_current
group by all
order by t.trace_id

-- One row a trace of the days from $first to $last with its user's first words.
-- $first, $last: UTC days; $max_chars: of the words, at most
-- $per_app: traces of an application, at most, by hash
select t.app, t.trace_id, t.day, left(arg_min(m.content, m.position), $max_chars) as request
from traces as t
inner join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
where t.day between $first and $last and t.is_current
    and m.role = 'user' and regexp_matches(m.content, '\S')
group by t.app, t.trace_id, t.day
qualify row_number() over (
    partition by t.app order by unit_hash(t.trace_id, 'reference'), t.trace_id
) <= $per_app
order by t.app, t.trace_id

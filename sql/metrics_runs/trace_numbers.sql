-- One row a trace of the days from $first to $last with what is cheap to count in it.
-- $first, $last: UTC days; $per_app: traces of an application, at most, by hash
select
    t.app,
    t.trace_id,
    count(*) as messages,
    count(*) filter (where m.role = 'user') as user_turns,
    count(*) filter (where m.role in ('tool', 'function')) as tool_results,
    coalesce(sum(length(m.content)) filter (where m.role = 'user'), 0)::bigint as user_characters,
    coalesce(sum(length(m.content)) filter (where m.role = 'assistant'), 0)::bigint
        as assistant_characters,
    coalesce(max(length(m.content)) filter (where m.role in ('user', 'assistant')), 0)
        as longest_turn,
    count(distinct m.content) filter (where m.role = 'assistant') as different_answers
from traces as t
inner join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
where t.day between $first and $last and t.is_current
group by t.app, t.trace_id
qualify row_number() over (
    partition by t.app order by unit_hash(t.trace_id, 'reference'), t.trace_id
) <= $per_app
order by t.app, t.trace_id

-- One row a trace: what a user said first, of the newest traces that no holdout has and that are not
-- sensitive; they show how people ask.
-- $app: the application
-- $characters: of a text, at most; longer ones are no example
-- $limit: rows, at most
select t.trace_id, m.content
from traces as t
inner join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
anti join sensitive_traces as x on x.trace_id = t.trace_id
where t.is_current
    and t.app = $app
    and split_of(t.session_id, t.user_id) <> 'holdout'
    and m.role = 'user'
    and len(m.content) between 1 and $characters
qualify row_number() over (partition by t.trace_id order by m.position) = 1
order by t.started_at desc nulls last, t.trace_id
limit $limit

-- One row a label of people: how many messages of the assistant its trace has, and at which of them
-- the error stands, from 1 on. Null where there is none; 0 where nobody said where it is.
-- A message of the user that shows the error stands for the last answer before it.
-- $app: null is all of them
-- $largest_weight: cap on 1 / draw probability, so that one label does not outvote the rest
select
    l.app,
    l.app || ' / ' || l.session_id as session,
    count(m.position)::integer as n_steps,
    case
        when not l.perceived_error then null
        when l.evidence_turn is null then 0
        else greatest(1, count(m.position) filter (where m.position <= l.evidence_turn))
    end::integer as error_step,
    least(1 / coalesce(l.draw_probability, 1), $largest_weight) as weight
from current_labels as l
inner join messages as m
    on m.day = l.day and m.trace_id = l.trace_id and m.content_hash = l.content_hash
    and m.role = 'assistant'
where ($app::varchar is null or l.app = $app)
group by
    l.app, l.session_id, l.trace_id, l.perceived_error, l.evidence_turn, l.draw_probability
order by l.app, session, l.trace_id

-- One row a trace with a verdict in force, as in steps_of_labels: at which message of the assistant
-- the judge sees an error.
-- $app: null is all of them
select
    t.app,
    t.app || ' / ' || t.session_id as session,
    count(m.position)::integer as n_steps,
    case
        when s.probability < 0.5 then null
        when s.evidence_turn is null then 0
        else greatest(1, count(m.position) filter (where m.position <= s.evidence_turn))
    end::integer as error_step,
    1::double as weight
from traces as t
inner join current_scores as s
    on s.day = t.day and s.trace_id = t.trace_id and s.content_hash = t.content_hash
    and s.metric = 'perceived_error' and s.span_id is null
inner join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
    and m.role = 'assistant'
where t.is_current and t.is_eligible and s.probability is not null
    and ($app::varchar is null or t.app = $app)
group by t.app, t.session_id, t.trace_id, s.probability, s.evidence_turn
order by t.app, session, t.trace_id

-- One row a trace that the graph is made of, with what is known of its outcome: a label of people, or
-- else the verdict in force. Drawn by a hash of the trace id, so that rates are those of all.
-- $first_day, $last_day: UTC days, both included
-- $app: null is all of them
-- $most: traces, at most
with chosen as (
    select
        day,
        app,
        trace_id,
        content_hash,
        session_id,
        is_eligible,
        coalesce(n_spans, 0) > 0 as has_spans,
        json_extract(metadata, '$.tools')::varchar as declared
    from traces
    where is_current and day between $first_day and $last_day
        and ($app::varchar is null or app = $app)
    qualify row_number() over (order by unit_hash(trace_id, 'graph'), trace_id) <= $most
),

told as (
    select
        c.*,
        coalesce(l.perceived_error, s.probability >= 0.5) as failed,
        case
            when l.perceived_error is not null then 'label'
            when s.probability is not null then 'verdict'
        end as told_by,
        if(l.perceived_error is not null, l.evidence_turn, s.evidence_turn) as evidence_turn
    from chosen as c
    left join current_labels as l
        on l.trace_id = c.trace_id and l.content_hash = c.content_hash
    left join current_scores as s
        on s.day = c.day and s.trace_id = c.trace_id and s.content_hash = c.content_hash
        and s.metric = 'perceived_error' and s.span_id is null
)

select
    t.app,
    t.trace_id,
    t.content_hash,
    t.app || ' / ' || t.session_id as session,
    t.is_eligible,
    t.has_spans,
    t.declared,
    t.failed,
    t.told_by,
    -- A message of the user that shows the error stands for the last answer before it.
    max(m.position) as error_position,
    arg_max(left(m.content, 80), m.position) as error_text
from told as t
left join messages as m
    on m.day = t.day and m.trace_id = t.trace_id and m.content_hash = t.content_hash
    and m.role = 'assistant' and m.position <= t.evidence_turn and t.failed
group by
    t.app, t.trace_id, t.content_hash, t.session_id, t.is_eligible, t.has_spans, t.declared,
    t.failed, t.told_by
order by t.app, t.trace_id

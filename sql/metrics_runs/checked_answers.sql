-- One row a trace of the day (or a turn, for a metric of turns), and one an answer for anything else:
-- the score to store, or in `failed` or `skipped` why there is none.
-- given: answers(trace_id varchar, value double, is_no_number boolean, label varchar,
--     reason varchar, evidence_turn integer)
-- $level: 'trace' or 'turn'; $day: UTC day; $metric, $metric_version: what gave the answers
with units as (
    select trace_id, content_hash, n_messages, -1 as turn
    from traces
    where $level = 'trace'
    union all
    select t.trace_id, t.content_hash, t.n_messages, m.position as turn
    from traces as t
    inner join messages as m on m.trace_id = t.trace_id
    where $level = 'turn' and m.role in ('user', 'assistant')
),

answered as (
    select
        trace_id,
        if($level = 'turn', evidence_turn, -1) as turn,
        count(*) as n_rows,
        first(value) as value,
        first(is_no_number) as is_no_number,
        first(label) as label,
        first(reason) as reason,
        first(evidence_turn) as evidence_turn
    from answers
    group by all
)

select
    $day::date as day,
    coalesce(u.trace_id, a.trace_id) as trace_id,
    u.content_hash,
    if($level = 'turn', 'turn:' || u.turn, null) as span_id,
    $metric::varchar as metric,
    $metric_version::varchar as metric_version,
    '' as judge_version,
    'code' as kind,
    a.value,
    a.label,
    a.reason,
    a.evidence_turn,
    case
        when u.trace_id is null then 'an answer for no ' || $level || ' of the day'
        when a.n_rows > 1 then 'more than one answer for a ' || $level
        when a.is_no_number then 'a value that is no number'
        when not isfinite(a.value) then 'a value that is not finite'
        when a.evidence_turn not between 0 and u.n_messages - 1
            then 'an evidence_turn that is no message of the trace'
    end as failed,
    if(failed is null and a.value is null, 'no value given', null) as skipped
from units as u
full outer join answered as a on a.trace_id = u.trace_id and a.turn = u.turn
order by trace_id, evidence_turn, u.turn

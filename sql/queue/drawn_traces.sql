-- One row a trace of the day that was drawn for people, most urgent first: those whose hash is below
-- their chance, of the audit or of the targeted draw.
-- $day: UTC day
-- given: chances(trace_id varchar, content_hash varchar, p double, is_disputed boolean,
--     is_decided boolean, weight double, audit_probability double, targeted_probability double,
--     draw_probability double)
with drawn as (
    select *, unit_hash(trace_id, 'audit') < audit_probability as is_audit
    from chances
    where is_audit or unit_hash(trace_id, 'targeted') < targeted_probability
),

-- What retrieval gave for the trace: JSON, [correction_id, similarity] by rank.
examples as (
    select
        trace_id,
        content_hash,
        to_json(list(json_array(correction_id, similarity) order by rank))::varchar as similar
    from few_shot_corrections
    where day = $day
    group by trace_id, content_hash
)

select
    d.trace_id,
    d.content_hash,
    t.app,
    -- One that only the uniform share can have drawn, p near 0, is there because the judge may be
    -- wrong: uncertain.
    case
        when is_audit then 'random_audit'
        when is_disputed then 'disputed'
        when p > 0.5 then 'low_score'
        else 'uncertain'
    end as reason,
    -- Targeted ones by rank, what no tier decided first, the last at 0; audits by hash in (0, 1]:
    -- between them, and never last.
    if(
        is_audit,
        1 - unit_hash(d.trace_id, 'priority'),
        1 - row_number() over (
            partition by is_audit order by d.is_decided, weight desc, d.trace_id
        ) / count(*) over (partition by is_audit)
    ) as priority,
    draw_probability,
    audit_probability,
    s.probability,
    s.judge_version,
    s.reason as judge_reason,
    s.reason_code as judge_reason_code,
    s.evidence_turn,
    e.similar
from drawn as d
inner join traces as t
    on t.day = $day and t.trace_id = d.trace_id and t.content_hash = d.content_hash
inner join current_scores as s
    on s.day = $day and s.trace_id = d.trace_id and s.content_hash = d.content_hash
    and s.metric = 'perceived_error' and s.span_id is null
left join examples as e on e.trace_id = d.trace_id and e.content_hash = d.content_hash
order by priority desc, d.trace_id

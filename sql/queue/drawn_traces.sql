-- One row a trace of the day that was drawn for people, most urgent first. Two Poisson draws, by
-- hash: a uniform audit, and a targeted one at tau * uniform + (1 - tau) * weight (2403.03208).
-- $day: UTC day; $audit_items, $targeted_items: expected number of traces of each draw
-- $uniform_floor: tau, the uniform share of the targeted draw, in (0, 1]
with pool as (
    select
        t.trace_id,
        t.content_hash,
        t.app,
        s.judge_version,
        s.probability,
        s.reason as judge_reason,
        s.reason_code as judge_reason_code,
        s.evidence_turn,
        -- A verdict that could not be read is as uncertain as can be.
        coalesce(s.probability, 0.5) as p,
        -- The paper's doubt, and a part for likely errors, which outweighs it from p = .5 on: a sure
        -- error weighs twice as much as full doubt, and a sure success is left to the uniform share.
        sqrt(p * (1 - p)) as doubt,
        2 * p * p as likely,
        doubt + likely as weight,
        count(*) over () as n,
        sum(weight) over () as total_weight
    from traces as t
    inner join current_scores as s
        on s.trace_id = t.trace_id and s.content_hash = t.content_hash
        and s.metric = 'perceived_error' and s.span_id is null
    where t.day = $day and s.day = $day and t.is_current and t.is_eligible
),

chances as (
    select
        *,
        least(1, $audit_items / n) as audit_probability,
        least(1, $targeted_items * (
            $uniform_floor / n
            + (1 - $uniform_floor) * coalesce(weight / nullif(total_weight, 0), 1 / n)
        )) as targeted_probability
    from pool
),

drawn as (
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
    app,
    -- A targeted trace has the reason that is the larger part of its weight; one that only the
    -- uniform share can have drawn, p near 0, is there because the judge may be wrong: uncertain.
    case
        when is_audit then 'random_audit'
        when likely > doubt then 'low_score'
        else 'uncertain'
    end as reason,
    -- Targeted ones by rank, the last at 0; audits by hash in (0, 1]: between them, and never last.
    if(
        is_audit,
        1 - unit_hash(d.trace_id, 'priority'),
        1 - row_number() over (partition by is_audit order by weight desc, d.trace_id)
        / count(*) over (partition by is_audit)
    ) as priority,
    1 - (1 - audit_probability) * (1 - targeted_probability) as draw_probability,
    audit_probability,
    probability,
    judge_version,
    judge_reason,
    judge_reason_code,
    evidence_turn,
    e.similar
from drawn as d
left join examples as e on e.trace_id = d.trace_id and e.content_hash = d.content_hash
order by priority desc, d.trace_id

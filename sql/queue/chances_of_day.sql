-- One row a trace of the day that could be drawn, current, eligible and with a verdict: with which
-- probability it is, by two Poisson draws: a uniform audit, and a targeted one. Together they draw
-- $items traces in expectation, exactly: `draw_probability` adds up to it, or to the pool where that
-- is smaller (Zrnic and Candès, active statistical inference, 2403.03208).
-- $day: UTC day
-- $items: traces to draw in expectation; $audit_items: those of the audit
-- $uniform_floor: tau, the uniform share of the targeted draw, in (0, 1]
-- $likely_share: the share of its rest that goes to likely errors, in [0, 1)
with tiers as (
    -- What all tiers of the run in force made of a trace.
    select
        s.trace_id,
        s.content_hash,
        avg(s.probability) as mean_probability,
        coalesce(bool_or(s.is_decided), false) as is_decided,
        -- A tier with the last word settles what the others said.
        count(distinct s.label) > 1
        and not coalesce(bool_or(s.is_decided), false) as is_disputed
    from scores as s
    inner join current_runs as r
        on r.day = s.day and r.metric = s.metric and r.metric_version = s.metric_version
        and r.judge = split_part(s.judge_version, '/', 1)
    where s.day = $day and s.metric = 'perceived_error' and s.span_id is null
        and s.label is distinct from 'unparsed'
    group by s.trace_id, s.content_hash
),

pool as (
    select
        s.trace_id,
        s.content_hash,
        coalesce(v.is_disputed, false) as is_disputed,
        coalesce(v.is_decided, false) as is_decided,
        -- A verdict that could not be read is as uncertain as can be.
        coalesce(if(is_disputed, v.mean_probability, s.probability), 0.5) as p,
        -- For the estimate: its variance is least where a trace is drawn in proportion to the error
        -- that is expected of the judge, sqrt(E[(Y - p)^2]) = sqrt(p (1 - p)).
        sqrt(p * (1 - p)) as doubt,
        -- For the people who repair: errors to correct, the surest first. It helps no estimate.
        p * p as likely,
        count(*) over () as n
    from traces as t
    inner join current_scores as s
        on s.trace_id = t.trace_id and s.content_hash = t.content_hash
        and s.metric = 'perceived_error' and s.span_id is null
    left join tiers as v on v.trace_id = s.trace_id and v.content_hash = s.content_hash
    where t.day = $day and s.day = $day and t.is_current and t.is_eligible
),

weights as (
    select
        *,
        least(1, $audit_items / n) as audit_probability,
        -- For everything else: what the judge is sure of and may be wrong about, and an estimate
        -- whose weights have a bound.
        $uniform_floor / n + (1 - $uniform_floor) * (
            (1 - $likely_share) * coalesce(doubt / nullif(sum(doubt) over (), 0), 1 / n)
            + $likely_share * coalesce(likely / nullif(sum(likely) over (), 0), 1 / n)
        ) as weight,
        -- What the audit takes as well is not drawn twice.
        ($items - n * audit_probability) / nullif(1 - audit_probability, 0) as targeted_items
    from pool
),

-- Chances are weight times a factor, and none is above 1: what those would have beyond it goes to the
-- others. From the heaviest down, a trace is certain where the rest of the budget would make it so.
ranked as (
    select
        *,
        row_number() over heaviest as place,
        coalesce((targeted_items - (place - 1)) * weight >= sum(weight) over lighter, true)
            as is_certain
    from weights
    window
        heaviest as (order by weight desc, trace_id),
        lighter as (
            order by weight desc, trace_id rows between current row and unbounded following
        )
),

chances as (
    select
        *,
        count(*) filter (where is_certain) over () as n_certain,
        if(
            is_certain,
            1,
            greatest(targeted_items - n_certain, 0) * weight
            / sum(weight) filter (where not is_certain) over ()
        )::double as targeted_probability
    from ranked
)

select
    trace_id,
    content_hash,
    p,
    is_disputed,
    is_decided,
    weight,
    audit_probability::double as audit_probability,
    targeted_probability,
    1 - (1 - audit_probability) * (1 - targeted_probability) as draw_probability
from chances
order by trace_id

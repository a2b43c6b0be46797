-- One row what a metric whose review is overdue said of a trace that could be drawn: only of traces
-- that are drawn anyhow, or that this draws for any of the metrics, by hash; of those, what all of
-- the metrics said, since each could have drawn it. Of each metric half are drawn where it speaks
-- against a trace and half where it does not; `chance` is that of this draw for this metric.
-- given: overdue(metric varchar, label varchar)
-- given: chances(trace_id varchar, content_hash varchar, draw_probability double,
--     audit_probability double)
-- given: drawn(trace_id varchar, content_hash varchar)
-- $day: UTC day; $items: expected number of traces of each metric
with verdicts as (
    select
        s.trace_id,
        s.content_hash,
        s.metric,
        bool_or(lower(s.label) = o.label) as is_against,
        -- Of a metric of turns, the first that it speaks against.
        arg_min_null(s.value, (lower(s.label) <> o.label, s.evidence_turn)) as value,
        arg_min(s.label, (lower(s.label) <> o.label, s.evidence_turn)) as label
    from current_scores as s
    inner join overdue as o on o.metric = s.metric
    inner join chances as c on c.trace_id = s.trace_id and c.content_hash = s.content_hash
    where s.day = $day and s.kind = 'code' and lower(s.label) in ('true', 'false')
    group by s.trace_id, s.content_hash, s.metric
),

with_chance as (
    select *, least(1, $items / 2 / count(*) over (partition by metric, is_against)) as chance
    from verdicts
)

select
    v.trace_id,
    v.content_hash,
    v.metric,
    v.value,
    v.label,
    v.is_against,
    v.chance::double as chance,
    unit_hash(v.trace_id, 'review_due:' || v.metric) < v.chance as is_questioned
from with_chance as v
left join drawn as d on d.trace_id = v.trace_id and d.content_hash = v.content_hash
qualify d.trace_id is not null
    or bool_or(is_questioned) over (partition by v.trace_id, v.content_hash)
order by v.trace_id, v.metric

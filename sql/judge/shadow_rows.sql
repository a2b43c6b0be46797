-- One row a trace of the day that a shadow has read: its application, and the word of its highest
-- tier.
-- $day: UTC day
-- given: said(trace_id varchar, content_hash varchar, label varchar, probability double, tier varchar,
-- height bigint)
select
    s.trace_id,
    s.content_hash,
    t.app,
    s.tier,
    s.label = 'true' as perceived_error,
    s.probability
from said as s
inner join traces as t
    on t.day = $day and t.trace_id = s.trace_id and t.content_hash = s.content_hash and t.is_current
qualify row_number() over (partition by s.trace_id order by s.height desc) = 1
order by s.trace_id

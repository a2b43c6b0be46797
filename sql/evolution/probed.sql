-- One row a probe that the judge has answered, with the chance that its trace had to be drawn and
-- whether the judge sees an error.
-- $first_day, $last_day: UTC days, both included; $app: an application
select p.trace_id, p.inclusion_probability, s.probability >= 0.5 as failed
from probes as p
inner join traces as t
    on t.day = p.day and t.trace_id = p.trace_id and t.content_hash = p.content_hash
    and t.is_current
inner join current_scores as s
    on s.day = p.day and s.trace_id = p.trace_id and s.content_hash = p.content_hash
    and s.metric = 'probe'
where p.day between $first_day and $last_day and p.app = $app and s.probability is not null
order by p.trace_id

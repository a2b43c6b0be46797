-- One row a reader and a trace that it has learnt, by a label of people or of a panel: a judge, or the
-- adapter of a causal one. What it says of such a trace is no evidence of what it will say of others.
-- given: fitted(judge varchar, correction_id varchar)
select distinct f.judge, d.trace_id
from fitted as f
inner join decisions as d on d.decision_id = try_cast(f.correction_id as bigint)
union
select distinct f.judge, o.trace_id
from fitted as f
-- As derive_panel_labels names them.
inner join panel_outcomes as o
    on f.correction_id = 'panel-' || left(md5(o.trace_id || ':' || o.content_hash), 12)
order by all

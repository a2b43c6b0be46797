-- What stands of what people said, and what of it speaks of the traces as they are now.

-- One row a decision that stands: the last that its reviewer did not take back, on one version of a
-- trace.
create view standing_decisions as
select d.*
from decisions as d
where d.kind = 'decide'
    and not exists (select 1 from decisions as u where u.undoes = d.decision_id)
qualify row_number() over (
    partition by d.trace_id, d.content_hash, d.reviewer order by d.decision_id desc
) = 1;

-- One row a label of a trace that has not changed since; training, retrieval and the gate read this.
create view current_labels as
select l.*
from labels as l
inner join traces as t
    on t.trace_id = l.trace_id and t.content_hash = l.content_hash and t.is_current;

-- One row a better answer to a trace that has not changed since.
create view current_corrections as
select c.*
from corrections as c
inner join traces as t
    on t.trace_id = c.trace_id and t.content_hash = c.content_hash and t.is_current;

-- One row the score in force of a trace: of the last run of its day, by its highest tier. Within the
-- day, so that to read one day does not rank the scores of all.
create view current_scores as
select s.*
from scores as s
inner join current_runs as r
    on r.day = s.day and r.metric = s.metric and r.metric_version = s.metric_version
    and r.judge = split_part(s.judge_version, '/', 1)
inner join traces as t
    on t.day = s.day and t.trace_id = s.trace_id and t.content_hash = s.content_hash
    and t.is_current
qualify row_number() over (
    partition by s.day, s.trace_id, s.metric, coalesce(s.span_id, '')
    order by
        case s.tier when 'lora' then 3 when 'frozen' then 2 when 'lexical' then 1 else 0 end desc,
        s.judge_version desc
) = 1

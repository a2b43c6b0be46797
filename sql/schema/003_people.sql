-- People correct tool calls as well, settle what others dispute, and keep traces out of use.
-- A view of `d.*` is of the columns that its table had: those of changed tables are made anew.

drop view current_corrections;
drop view standing_decisions;

alter table decisions add column corrected_tool_calls varchar;

-- A correction is a better text, better tool calls, or both.
alter table corrections alter column corrected_text drop not null;
alter table corrections add column original_tool_calls varchar;
alter table corrections add column corrected_tool_calls varchar;

-- One row what somebody said or marked and nobody took back.
create view standing_rows as
select d.*
from decisions as d
where d.kind <> 'undo'
    and not exists (select 1 from decisions as u where u.undoes = d.decision_id);

-- One row a vote that stands: the last of its reviewer, on one version of a trace.
create view standing_decisions as
select d.*
from standing_rows as d
where d.kind = 'decide'
qualify row_number() over (
    partition by d.trace_id, d.content_hash, d.reviewer order by d.decision_id desc
) = 1;

-- One row a version of a trace that somebody settled: the last word on it.
create view standing_adjudications as
select d.*
from standing_rows as d
where d.kind = 'adjudicate'
qualify row_number() over (
    partition by d.trace_id, d.content_hash order by d.decision_id desc
) = 1;

-- One row what a label is made of: a vote, or the word that settles it (`is_settling`).
create view standing_words as
select *, false as is_settling from standing_decisions
union all by name
select *, true as is_settling from standing_adjudications;

-- One row a trace, whatever its version, that is no example and that nothing is trained on.
create view sensitive_traces as
select distinct d.trace_id
from standing_rows as d
where d.kind = 'sensitive';

-- One row a better answer to a trace that has not changed since.
create view current_corrections as
select c.*
from corrections as c
inner join traces as t
    on t.trace_id = c.trace_id and t.content_hash = c.content_hash and t.is_current

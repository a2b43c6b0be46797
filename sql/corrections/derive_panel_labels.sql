-- One row a version of a trace that a panel of judges settled, and of which no person has said
-- anything that stands: people always win, also where they disagree.
insert into labels by name
select
    'panel-' || left(md5(o.trace_id || ':' || o.content_hash), 12) as correction_id,
    o.trace_id,
    o.content_hash,
    t.app,
    t.session_id,
    t.user_id,
    t.day,
    split_of(t.session_id, t.user_id) as split,
    o.perceived_error,
    'panel' as source,
    0 as n_reviewers,
    o.rubric_version,
    false as is_audit,
    -- It weighs one: that its draw was rare makes it no better.
    null as draw_probability,
    o.settled_at as decided_at
from panel_outcomes as o
inner join traces as t on t.trace_id = o.trace_id and t.content_hash = o.content_hash
anti join standing_words as w on w.trace_id = o.trace_id and w.content_hash = o.content_hash
where o.perceived_error is not null

-- One row: of the traces that a panel settled and that were drawn for people, how many there are,
-- how many people have labelled, and how many of these they labelled otherwise.
select
    count(*) as n_drawn,
    count(l.trace_id) as n_audited,
    count(*) filter (where l.perceived_error <> o.perceived_error) as n_errors
from panel_outcomes as o
left join labels as l
    on l.trace_id = o.trace_id and l.content_hash = o.content_hash and l.source <> 'panel'
where o.is_audited and o.perceived_error is not null

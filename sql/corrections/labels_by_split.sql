-- One row a split that has labels: how many that people gave, how many of them of a perceived error,
-- settled by an adjudicator, and of sensitive traces; and how many that a panel of judges gave.
select
    l.split,
    count(*) filter (where l.source <> 'panel') as n,
    count(*) filter (where l.perceived_error and l.source <> 'panel') as n_positive,
    count(*) filter (where l.source = 'adjudicated') as n_adjudicated,
    count(s.trace_id) filter (where l.source <> 'panel') as n_sensitive,
    count(*) filter (where l.source = 'panel') as n_panel
from labels as l
left join sensitive_traces as s on s.trace_id = l.trace_id
group by l.split
order by l.split

-- One row a split that has labels: how many, how many of them of a perceived error, settled by an
-- adjudicator, and of sensitive traces.
select
    l.split,
    count(*) as n,
    count(*) filter (where l.perceived_error) as n_positive,
    count(*) filter (where l.source = 'adjudicated') as n_adjudicated,
    count(s.trace_id) as n_sensitive
from labels as l
left join sensitive_traces as s on s.trace_id = l.trace_id
group by l.split
order by l.split

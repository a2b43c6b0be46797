-- One row a split that has labels: how many, and how many of a perceived error.
select split, count(*) as n, count(*) filter (where perceived_error) as n_positive
from labels
group by split
order by split

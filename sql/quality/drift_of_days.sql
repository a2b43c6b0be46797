-- One row a test of drift, the newest day first.
-- $first: first UTC day
select day, app, subject, statistic, psi, p_value, alpha, has_drifted, n, n_reference
from drift
where day >= $first
order by day desc, app, subject

-- One row a thing that has drifted on the newest day that was tested.
select day, app, subject, statistic, psi, p_value, alpha, first_reference_day
from drift
where has_drifted and day = (select max(day) from drift)
order by app, subject

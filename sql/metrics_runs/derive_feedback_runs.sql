-- One row a day and a name of feedback that has scores: they are in force.
insert into current_runs by name
select distinct day, metric, metric_version, '' as judge
from scores
where starts_with(metric, 'feedback:')

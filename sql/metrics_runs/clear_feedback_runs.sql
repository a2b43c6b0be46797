-- Removes what says that scores made of feedback are in force.
delete from current_runs
where starts_with(metric, 'feedback:')

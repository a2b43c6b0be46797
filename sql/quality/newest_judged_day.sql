-- One row: the newest day with verdicts in use; null where there is none.
select max(day) from current_runs where metric = 'perceived_error'

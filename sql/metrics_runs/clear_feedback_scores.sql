-- Removes every score that was made of feedback.
delete from scores
where starts_with(metric, 'feedback:')

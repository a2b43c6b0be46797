-- Removes every row of feedback, to be mirrored anew.
delete from feedback

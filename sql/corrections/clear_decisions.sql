-- No decision is mirrored afterwards.
delete from decisions

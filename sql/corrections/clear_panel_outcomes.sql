-- No outcome of a panel is mirrored afterwards.
delete from panel_outcomes

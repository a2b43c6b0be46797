-- No label stands afterwards.
delete from labels

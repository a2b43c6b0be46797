-- No correction stands afterwards.
delete from corrections

-- One row a forgetting that this warehouse has been through; adds those that are not there.
-- given: forgotten(name varchar)
insert into forgettings
select name from forgotten where name not in (select forgetting_id from forgettings)
order by name

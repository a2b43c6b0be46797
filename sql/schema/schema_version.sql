-- One row a schema file that has been applied; `version` is the number in its name.
create table if not exists schema_version (version integer not null, name varchar not null)

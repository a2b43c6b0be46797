-- One row: how much the warehouse holds, and the last schema file that was applied to it.
select
    (select count(*) from traces where is_current) as n_traces,
    (select count(distinct day) from traces) as n_days,
    (select count(*) from labels) as n_labels,
    (select max(version) from schema_version) as schema_version

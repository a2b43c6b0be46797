-- One row a generation of the index that gave examples for the day; there is one at most.
-- $day: UTC day
select distinct index_version from few_shot_corrections where day = $day order by index_version

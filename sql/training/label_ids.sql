-- One row a label that stands, whatever its split.
select correction_id from labels order by correction_id

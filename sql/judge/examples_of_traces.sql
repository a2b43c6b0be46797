-- One row a wanted trace of the day that has few-shot examples: how they lean to a perceived error,
-- in [-1, 1] and weighted by similarity, and their ids, best first.
-- given: wanted(trace_id varchar)
-- $day: UTC day
select
    f.trace_id,
    sum(greatest(f.similarity, 0) * if(f.perceived_error, 1, -1))
        / greatest(sum(greatest(f.similarity, 0)), 1e-9) as leaning,
    list(f.correction_id order by f.rank) as correction_ids
from few_shot_corrections as f
semi join wanted as w on w.trace_id = f.trace_id
where f.day = $day
group by f.trace_id
order by f.trace_id

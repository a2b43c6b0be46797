-- One row a trace of the day that has few-shot examples: how they lean to a perceived error, in
-- [-1, 1] and weighted by similarity, and their ids, best first.
-- $day: UTC day
select
    trace_id,
    sum(greatest(similarity, 0) * if(perceived_error, 1, -1))
        / greatest(sum(greatest(similarity, 0)), 1e-9) as leaning,
    list(correction_id order by rank) as correction_ids
from few_shot_corrections
where day = $day
group by trace_id
order by trace_id

-- One row a judge version that gave verdicts on perceived errors, as scores name it, be it in the
-- shadow.
select judge_version
from scores
where metric = 'perceived_error' and span_id is null and probability is not null
union
select judge_version
from shadow_scores
order by judge_version

-- One row a trace that is named where no trace of it stands: scores, samples and mirrors left over.
select trace_id from (
    select trace_id from messages
    union select trace_id from samples
    union select trace_id from scores
    union select trace_id from shadow_scores
    union select trace_id from few_shot_corrections
    union select trace_id from decisions
    union select trace_id from labels
    union select trace_id from corrections
    union select trace_id from panel_outcomes
    union select trace_id from feedback
)
where trace_id not in (select trace_id from traces)
order by trace_id

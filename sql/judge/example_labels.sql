-- One row a wanted correction that may be shown to a judge: the trace that it is of, and what people
-- said of it. Only what retrieval may show stands here: a person's label, in train or validation, of
-- the current version of a trace that is not sensitive.
-- given: wanted(correction_id varchar)
select
    l.correction_id,
    l.trace_id,
    l.perceived_error,
    coalesce(l.reason_code, if(l.perceived_error, 'correction', 'none')) as reason_code,
    coalesce(l.reason, '') as reason
from current_labels as l
semi join wanted as w on w.correction_id = l.correction_id
anti join sensitive_traces as s on s.trace_id = l.trace_id
where l.split in ('train', 'validation') and l.source in ('human', 'adjudicated')
order by l.correction_id

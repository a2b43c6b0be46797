-- One row an application and whether its traces were answered with examples: traces judged, and
-- those judged errors. Beside them stand traces of the same application and the same days.
-- given: served(trace_id varchar)
with judged as (
    select
        t.app,
        t.day,
        t.trace_id in (select w.trace_id from served as w) as is_served,
        s.probability >= 0.5 as is_error
    from traces as t
    inner join current_scores as s
        on s.day = t.day and s.trace_id = t.trace_id and s.content_hash = t.content_hash
    where t.is_current and s.metric = 'perceived_error' and s.probability is not null
        and s.span_id is null
)

select
    app,
    is_served,
    count(*) as n_judged,
    count(*) filter (where is_error) as n_errors
from judged
where (app, day) in (select (j.app, j.day) from judged as j where j.is_served)
group by app, is_served
order by app, is_served desc

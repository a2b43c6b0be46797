-- One row a row of the ledger's feedback; of one that names a span alone, the trace is looked up.
-- given: ledger_feedback(feedback_id bigint, app varchar, trace_id varchar, span_id varchar,
--     name varchar, value double, label varchar, comment varchar, correction varchar,
--     source varchar, tool varchar, author varchar, given_at timestamptz)
insert into feedback by name
select
    f.* exclude (trace_id, given_at),
    coalesce(
        nullif(f.trace_id, ''),
        (
            select min(s.trace_id)
            from spans as s
            where s.span_id = f.span_id and (f.app = '' or s.app = f.app)
        ),
        ''
    ) as trace_id,
    f.given_at::timestamp as given_at
from ledger_feedback as f

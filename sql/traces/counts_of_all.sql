-- One row: all current traces, eligible ones and messages, and the lines rejected from all files.
select
    count(*) as traces,
    count(*) filter (where is_eligible) as eligible,
    coalesce(sum(n_messages), 0)::bigint as messages,
    (select coalesce(sum(rejected), 0)::bigint from loaded_imports) as rejected
from traces
where is_current

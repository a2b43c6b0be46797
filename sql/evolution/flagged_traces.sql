-- One row a trace that people say, or the judge says where no person did, that its user saw an error
-- in: of the days, of at most $most, drawn by hash. What is asked of and what was said against it:
-- the user's turn in which the error shows, and the user's turn before that one.
-- $first, $last: UTC days, both included; $most: traces, the same whenever it is asked
-- $max_chars: of each text
with flagged as (
    select
        t.trace_id,
        t.content_hash,
        t.app,
        t.session_id,
        t.day,
        l.perceived_error is not null as is_by_people,
        -- What a person or a generative judge says is a sentence of its own; other judges quote.
        is_by_people or coalesce(s.tier = 'generative', false) as is_explained,
        if(is_by_people, l.reason_code, s.reason_code) as reason_code,
        if(is_by_people, l.reason, s.reason) as reason,
        coalesce(l.evidence_turn, s.evidence_turn) as evidence_turn
    from traces as t
    left join current_labels as l
        on l.trace_id = t.trace_id and l.content_hash = t.content_hash
    left join current_scores as s
        on s.day = t.day and s.trace_id = t.trace_id and s.content_hash = t.content_hash
        and s.metric = 'perceived_error' and s.span_id is null
    where t.day between $first and $last and t.is_current and t.is_eligible
        and coalesce(l.perceived_error, s.probability >= 0.5)
        and t.trace_id not in (select trace_id from sensitive_traces)
),

drawn as (
    select *, count(*) over () as n_flagged
    from flagged
    order by unit_hash(trace_id, 'modes'), trace_id
    limit $most
),

shown as (
    -- Where nobody says which turn it is, the last of the user.
    select
        d.trace_id,
        d.content_hash,
        coalesce(
            max(m.position) filter (where m.position = d.evidence_turn), max(m.position)
        ) as at_turn
    from drawn as d
    inner join messages as m
        on m.day = d.day and m.trace_id = d.trace_id and m.content_hash = d.content_hash
        and m.role = 'user'
    group by d.trace_id, d.content_hash
)

select
    d.trace_id,
    d.content_hash,
    d.app,
    d.app || ' / ' || d.session_id as session,
    d.day,
    d.is_by_people,
    d.is_explained,
    coalesce(d.reason_code, '') as reason_code,
    coalesce(left(d.reason, $max_chars), '') as reason,
    coalesce(left(max(m.content) filter (where m.position = h.at_turn), $max_chars), '') as reaction,
    coalesce(
        left(arg_max(m.content, m.position) filter (where m.position < h.at_turn), $max_chars), ''
    ) as request,
    d.n_flagged
from drawn as d
left join shown as h on h.trace_id = d.trace_id and h.content_hash = d.content_hash
left join messages as m
    on m.day = d.day and m.trace_id = d.trace_id and m.content_hash = d.content_hash
    and m.role = 'user'
group by all
order by d.day, d.trace_id

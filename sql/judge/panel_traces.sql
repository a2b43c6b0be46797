-- One row an eligible trace of the day that a panel labels, with the chance that it was one: drawn
-- uniformly, by hash, of those that may be trained on, that no person has decided on and that are
-- not sensitive. Those that the panel has been through keep their place.
-- $day: UTC day; $most: number of traces
-- given: been_through(trace_id varchar, content_hash varchar)
with open_traces as (
    select t.trace_id, t.content_hash, count(*) over () as n
    from traces as t
    left join been_through as b on b.trace_id = t.trace_id and b.content_hash = t.content_hash
    anti join sensitive_traces as s on s.trace_id = t.trace_id
    where t.day = $day and t.is_current and t.is_eligible
        and split_of(t.session_id, t.user_id) in ('train', 'validation')
        and (
            b.trace_id is not null
            or (t.trace_id, t.content_hash) not in (
                select (w.trace_id, w.content_hash) from standing_words as w
            )
        )
)

select trace_id, content_hash, least(1, $most / n)::double as draw_probability
from open_traces
order by unit_hash(trace_id, 'panel'), trace_id
limit $most

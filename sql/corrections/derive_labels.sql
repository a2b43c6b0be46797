-- One row a version of a trace that somebody settled, or on which most reviewers agree; a tie gives
-- no label. What it says besides yes or no is that of who settled it, else of the last decision on
-- the side of the most.
insert into labels by name
with words as (
    select
        *,
        bool_or(perceived_error) filter (where is_settling) over version as settled,
        2 * count(*) filter (where perceived_error and not is_settling) over version
            - count(*) filter (where not is_settling) over version as balance,
        -- Who settled it speaks last.
        decision_id + if(is_settling, 1::bigint << 60, 0) as place
    from standing_words
    window version as (partition by trace_id, content_hash)
),

sides as (
    select *, coalesce(settled, balance > 0) as side
    from words
    where settled is not null or balance <> 0
),

agreed as (
    select
        trace_id,
        content_hash,
        side as perceived_error,
        if(settled is null, 'human', 'adjudicated') as source,
        cast(max(decision_id) as varchar) as correction_id,
        arg_max(
            {
                'reason_code': s.reason_code,
                'reason': s.reason,
                'evidence_turn': s.evidence_turn
            },
            place
        ) filter (where s.perceived_error = side) as said,
        count(distinct reviewer) as n_reviewers,
        arg_max(rubric_version, place) as rubric_version,
        bool_or(is_audit) as is_audit,
        max(draw_probability) as draw_probability,
        arg_max(decided_at, place) as decided_at
    from sides as s
    group by trace_id, content_hash, side, settled
)

select
    a.correction_id,
    a.trace_id,
    a.content_hash,
    t.app,
    t.session_id,
    t.user_id,
    t.day,
    split_of(t.session_id, t.user_id) as split,
    a.perceived_error,
    a.said.reason_code as reason_code,
    a.said.reason as reason,
    a.said.evidence_turn as evidence_turn,
    a.source,
    a.n_reviewers,
    a.rubric_version,
    a.is_audit,
    a.draw_probability,
    a.decided_at
from agreed as a
inner join traces as t on t.trace_id = a.trace_id and t.content_hash = a.content_hash

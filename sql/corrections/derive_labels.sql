-- One row a version of a trace on which most reviewers agree; a tie gives no label. What it says
-- besides yes or no is that of the last decision on the side of the most.
insert into labels by name
with sides as (
    select
        *,
        2 * count(*) filter (where perceived_error) over version - count(*) over version as balance
    from standing_decisions
    window version as (partition by trace_id, content_hash)
),

agreed as (
    select
        trace_id,
        content_hash,
        balance > 0 as perceived_error,
        cast(max(decision_id) as varchar) as correction_id,
        arg_max(
            {
                'reason_code': s.reason_code,
                'reason': s.reason,
                'evidence_turn': s.evidence_turn
            },
            decision_id
        ) filter (where s.perceived_error = (balance > 0)) as said,
        count(*) as n_reviewers,
        arg_max(rubric_version, decision_id) as rubric_version,
        bool_or(is_audit) as is_audit,
        max(draw_probability) as draw_probability,
        arg_max(decided_at, decision_id) as decided_at
    from sides as s
    where balance <> 0
    group by trace_id, content_hash, balance
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
    'human' as source,
    a.n_reviewers,
    a.rubric_version,
    a.is_audit,
    a.draw_probability,
    a.decided_at
from agreed as a
inner join traces as t on t.trace_id = a.trace_id and t.content_hash = a.content_hash

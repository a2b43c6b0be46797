-- One row a version of a trace that somebody settled, or on which most reviewers agree; a tie gives
-- no label. What it says besides yes or no is that of who settled it, else of the last decision on
-- the side of the most.
insert into labels by name
with sides as (
    select
        trace_id,
        content_hash,
        bool_or(perceived_error) filter (where is_settling) as settled,
        2 * count(*) filter (where perceived_error and not is_settling)
            - count(*) filter (where not is_settling) as balance
    from standing_words
    group by trace_id, content_hash
),

agreed as (
    select
        s.trace_id,
        s.content_hash,
        coalesce(s.settled, s.balance > 0) as perceived_error,
        if(s.settled is null, 'human', 'adjudicated') as source,
        cast(max(w.decision_id) as varchar) as correction_id,
        last(
            {
                'reason_code': w.reason_code,
                'reason': w.reason,
                'evidence_turn': w.evidence_turn
            }
            order by w.is_settling, w.decision_id
        ) filter (where w.perceived_error = coalesce(s.settled, s.balance > 0)) as said,
        last(
            {'rubric_version': w.rubric_version, 'decided_at': w.decided_at}
            order by w.is_settling, w.decision_id
        ) as latest,
        count(distinct w.reviewer) as n_reviewers,
        bool_or(w.is_audit) as is_audit,
        max(w.draw_probability) as draw_probability
    from sides as s
    inner join standing_words as w
        on w.trace_id = s.trace_id and w.content_hash = s.content_hash
    where s.settled is not null or s.balance <> 0
    group by s.trace_id, s.content_hash, s.settled, s.balance
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
    a.latest.rubric_version as rubric_version,
    a.is_audit,
    a.draw_probability,
    a.latest.decided_at as decided_at
from agreed as a
inner join traces as t on t.trace_id = a.trace_id and t.content_hash = a.content_hash

-- One row a trace with an answer: whether the assistant apologised or took something back.
-- Only the first 400 characters of an answer are read: that is where an apology stands.
-- name: assistant_backtrack
-- level: trace
-- direction: lower_is_better
-- owner: flywheel
-- review_due: 2027-06-01
with answers as (
    select
        trace_id,
        position,
        nullif(regexp_extract(
            left(content, 400),
            -- English
            '(?i)(?:\bsorry\b|\bapolog(?:y|ies|i[sz]e)\b|\bmy (?:mistake|bad|error)\b|\bi was (?:wrong|mistaken)\b'
            || '|\byou(?:[''’]re| are) (?:absolutely |completely |quite )?(?:right|correct)\b'
            || '|\bi (?:misunderstood|misread|overlooked|made an? (?:mistake|error))\b'
            || '|\blet me (?:correct|fix) (?:that|this|it|my)\b|\bi stand corrected\b'
            -- German, French, Spanish, Italian, Portuguese, Dutch
            || '|\bentschuldig|\b(?:tut|tat) mir leid\b|\bmein fehler\b|\b(?:sie haben|du hast) (?:völlig )?recht\b'
            || '|désolé|\bje m[''’]excuse|\bexcusez-moi\b|\b(?:vous avez|tu as) raison\b|\bje me suis tromp'
            || '|\blo siento\b|\bdisculp[ae]|\b(?:tienes?) (?:toda la )?razón\b|\bme equivoqué'
            || '|\bmi (?:dispiace|scuso)\b|\b(?:hai|ha) ragione\b|\bho sbagliato\b'
            || '|\bdesculp[ae]|\bsinto muito\b|\b(?:tem|tens) (?:toda a )?razão\b|\bje hebt gelijk\b|\bmijn excuses\b'
            -- Russian, Chinese, Japanese, Korean
            || '|извин|прошу прощения|вы правы|я ошиб'
            || '|抱歉|对不起|不好意思|[您你]说得对|我(?:搞|弄)错了|申し訳|すみません|失礼(?:いた)?しました|죄송|미안)'
        ), '') as taken_back
    from messages
    where role = 'assistant' and regexp_matches(content, '\S')
),

first_of_trace as (
    select
        trace_id,
        arg_min(taken_back, position) as taken_back,
        min(position) filter (where taken_back is not null) as position
    from answers
    group by trace_id
)

select
    trace_id,
    (taken_back is not null)::integer as value,
    taken_back is not null as label,
    coalesce('The assistant backtracked: “' || taken_back || '”', 'No answer apologises or takes something back') as reason,
    position as evidence_turn
from first_of_trace

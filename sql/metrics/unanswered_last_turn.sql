-- One row a trace with a turn of its user: whether the user spoke last and was still owed an answer.
-- A last turn that only thanks or says goodbye, in at most six words, is owed none.
-- name: unanswered_last_turn
-- level: trace
-- direction: lower_is_better
-- owner: flywheel
-- review_due: 2027-06-01
with last_turns as (
    select
        trace_id,
        max(position) as position,
        arg_max(role, position) as role,
        lower(arg_max(left(content, 200), position)) as opening
    from messages
    where role in ('user', 'assistant') and regexp_matches(content, '\S')
    group by trace_id
    having bool_or(role = 'user')
),

judged as (
    select
        *,
        len(string_split(trim(opening), ' ')) <= 6 and not contains(opening, '?')
        and regexp_matches(
            opening,
            '\b(thanks?|thx|bye|goodbye|danke|dank|tschüss|merci|au revoir|gracias|adiós|grazie|'
            || 'ciao|obrigad[oa]|tchau|bedankt|dzięki|dziękuję|teşekkürler)\b'
            || '|спасибо|до свидания|谢谢|再见|ありがとう|감사합니다|شكرا|धन्यवाद'
        ) as is_farewell
    from last_turns
)

select
    trace_id,
    (role = 'user' and not is_farewell)::integer as value,
    role = 'user' and not is_farewell as label,
    case
        when role = 'assistant' then 'The assistant spoke last'
        when is_farewell then 'The user spoke last, to thank or to say goodbye'
        else 'The user spoke last and got no answer'
    end as reason,
    position as evidence_turn
from judged

-- One row a trace with an answer: whether the assistant declined to help in one of its answers.
-- Only the first 400 characters of an answer are read: who refuses says so at once.
-- name: refusal
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
            '(?i)(?:\b(?:i[''’]m|i am|we[''’]re|we are) (?:sorry|afraid),? (?:but )?(?:i|we) (?:can[''’]t|cannot|can not)\b'
            || '|\b(?:i|we) (?:can[''’]t|cannot|can not|won[''’]t|am unable to|am not able to|[''’]m unable to'
            || '|[''’]m not able to) (?:help|assist|provide|do that|comply|answer|share|fulfil|support|discuss'
            || '|generate|create|write|give|process|complete|continue)'
            || '|\bi(?:[''’]m| am) (?:unable|not able|not allowed|not permitted) to\b'
            || '|\bas an ai\b[^.]{0,60}\b(?:can[''’]t|cannot|unable|not able|don[''’]t)\b'
            || '|\bi (?:must|have to) (?:decline|refuse)\b'
            -- German, French, Spanish, Italian, Portuguese, Dutch
            || '|\bich kann (?:\pL+ ){0,3}(?:leider )?nicht (?:helfen|weiterhelfen|beantworten|anbieten)'
            || '|\bdabei kann ich (?:\pL+ ){0,2}nicht\b'
            || '|\bje ne peux (?:malheureusement )?pas\b|\bje ne suis pas en mesure\b'
            || '|\bno puedo (?:ayudar|proporcionar|responder|hacer|cumplir|asistir)|\bno me es posible\b'
            || '|\bnon posso (?:aiutar|fornir|rispondere|fare)|\bnon sono in grado\b'
            || '|\bnão posso (?:ajud|fornec|respond|fazer)|\bnão consigo (?:ajud|fornec|respond)'
            || '|\bik kan (?:\pL+ ){0,3}niet (?:helpen|beantwoorden)'
            -- Russian, Chinese, Japanese, Korean
            || '|не могу (?:вам |тебе |вам с этим )?(?:помочь|ответить|предоставить|выполнить)'
            || '|我(?:无法|不能|没法)(?:帮|提供|回答|协助|满足|完成)|(?:抱歉|对不起)[,,、 ]?(?:我)?(?:无法|不能)'
            || '|お(?:手伝い|答え)(?:は|することは)?でき(?:ません|かねます)|(?:도와|답변)\S{0,8} 수 없)'
        ), '') as refused
    from messages
    where role = 'assistant' and regexp_matches(content, '\S')
),

first_of_trace as (
    select
        trace_id,
        arg_min(refused, position) as refused,
        min(position) filter (where refused is not null) as position
    from answers
    group by trace_id
)

select
    trace_id,
    (refused is not null)::integer as value,
    refused is not null as label,
    coalesce('The assistant declined: “' || refused || '”', 'No answer declines') as reason,
    position as evidence_turn
from first_of_trace

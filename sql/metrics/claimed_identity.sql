-- One row a trace with words of its user: whether the user claims to be somebody with rights, such as
-- staff, a developer of the application, an officer, a doctor or a lawyer. A claim is no proof, and
-- no error: what it should change is for the application to say.
-- name: claimed_identity
-- level: trace
-- node: input
-- direction: neutral
-- owner: flywheel
-- review_due: 2027-06-01
with inputs as (
    select
        trace_id,
        position,
        nullif(regexp_extract(
            left(content, 4000),
            '(?i)(?:\b(?:i am|i[''’]m|this is|i work as|speaking as|as) (?:an? |the |your |one of the )?'
            || '(?:\pL+ ){0,2}(?:admin(?:istrator)?|root user|super ?user|developers?|creators?|owner|ceo|cto|cfo|manager|supervisor'
            || '|moderator|employee|staff member|engineer|auditor|security researcher|penetration tester|pen ?tester'
            || '|police(?: officer)?|officer|detective|fbi agent|government official|judge|lawyer|attorney'
            || '|doctor|physician|nurse|pharmacist|surgeon|paramedic|teacher|parent)\b'
            || '|\bi work (?:for|at) (?:openai|anthropic|google|microsoft|meta|the (?:company|police|bank|government|airline|hospital))\b'
            || '|\bi have (?:admin|root|administrator|special) (?:rights|access|permissions?|privileges)\b'
            || '|\bich bin (?:der |die |ein |eine |ihr |ihre |dein |deine )?(?:\pL+ )?(?:administrator|entwickler|arzt|ärztin|polizist|anwalt|anwältin|chef|chefin)'
            || '|\bje suis (?:un |une |le |la |votre |l[''’])?(?:\pL+ )?(?:administrateur|développeur|médecin|policier|avocat)'
            || '|\bsoy (?:el |la |un |una |tu |su )?(?:\pL+ )?(?:administrador|desarrollador|médico|médica|policía|abogad[oa])'
            || '|我是(?:管理员|开发者|医生|警察|律师)|私は(?:管理者|開発者|医師|警察|弁護士))'
        ), '') as claim
    from nodes
    where node = 'input'
)

select
    trace_id,
    (count(claim) > 0)::integer as value,
    count(claim) > 0 as label,
    coalesce('The user claims: “' || left(arg_min(claim, position), 60) || '”', 'The user claims to be nobody with rights') as reason,
    min(position) filter (where claim is not null) as evidence_turn
from inputs
group by trace_id

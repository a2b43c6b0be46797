-- One row a trace that looked something up: the share of its lookups that found nothing.
-- Lookups are calls of tools with a name LIKE one of `tools`, which a copy of this file may change.
-- name: empty_retrieval
-- level: trace
-- node: retriever
-- direction: lower_is_better
-- owner: flywheel
-- review_due: 2027-06-01
with lookups as (
    select
        trace_id,
        position,
        tool,
        trim(left(content, 400), ' ' || chr(9) || chr(10) || chr(13)) as opening,
        regexp_matches(opening, '^(?:\W*|null|none|nil|""|\W*"?(?:results?|hits|documents|matches|items|data)"?\s*:\s*(?:\[\s*\]|null|\{\s*\})\W*)$', 'i')
        or (
            length(opening) < 300 and regexp_matches(
                opening,
                '(?i)\b(?:no|0|zero) (?:\pL+ ){0,2}(?:results?|match(?:es)?|hits|documents?|files|records?|entries|rows)\b'
                || '|\b(?:nothing|none|not) (?:was |were )?found\b|"(?:total|count|hits|total_results)"\s*:\s*0\b'
                || '|\bkeine (?:\pL+ )?(?:ergebnisse|treffer)\b|\baucun résultat\b|\bsin resultados\b|没有找到|見つかりません'
            )
        ) as is_empty
    from nodes
    where node = 'retriever'
)

select
    trace_id,
    count(*) filter (where is_empty) / count(*) as value,
    bool_or(is_empty) as label,
    count(*) filter (where is_empty) || ' of ' || count(*) || ' lookups found nothing' as reason,
    min(position) filter (where is_empty) as evidence_turn
from lookups
group by trace_id

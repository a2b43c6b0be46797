-- One row a trace that a shadow has read and the champion too: what each said by its fitted tiers,
-- and what people said, null where they did not. The champion is the run in force of its day; a
-- generative judge behind it is left out, for a shadow has none.
-- $first: first UTC day; null is without a bound
with champion as (
    select s.day, s.trace_id, s.content_hash, s.judge_version, s.probability
    from scores as s
    inner join current_runs as r
        on r.day = s.day and r.metric = s.metric and r.metric_version = s.metric_version
        and r.judge = split_part(s.judge_version, '/', 1)
    where s.metric = 'perceived_error' and s.span_id is null and s.probability is not null
        and s.tier in ('lexical', 'frozen', 'lora')
        and s.day in (select distinct day from shadow_scores)
        and ($first::date is null or s.day >= $first)
    qualify row_number() over (
        partition by s.day, s.trace_id, s.content_hash
        order by case s.tier when 'lora' then 3 when 'frozen' then 2 else 1 end desc
    ) = 1
)

select
    s.target,
    s.judge_version as shadow,
    -- The fitted judge alone: without its tier, and without the generative judge behind it.
    split_part(split_part(c.judge_version, '/', 1), '+', 1) as champion,
    s.day,
    s.app,
    s.trace_id,
    c.probability as of_champion,
    s.probability as of_shadow,
    l.perceived_error as of_people
from shadow_scores as s
inner join champion as c
    on c.day = s.day and c.trace_id = s.trace_id and c.content_hash = s.content_hash
inner join traces as t
    on t.day = s.day and t.trace_id = s.trace_id and t.content_hash = s.content_hash and t.is_current
left join current_labels as l
    on l.trace_id = s.trace_id and l.content_hash = s.content_hash
order by s.target, s.judge_version, champion, s.day, s.trace_id

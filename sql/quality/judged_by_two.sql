-- One row a current, eligible trace that both judges read, be it in the shadow: what each said, what
-- people said, and by what chance they were asked. Of a day on which either judge had learnt any of
-- them, only the holdout speaks.
-- $first_judge, $second_judge: a judge version as scores name it, or that of a run without its tier:
-- then the highest tier that read the trace
-- $app: null is all of them; $first: the first UTC day, null is without a bound
-- given: queued(day date, trace_id varchar, content_hash varchar, draw_probability double,
-- audit_probability double, is_open boolean, is_panel boolean)
-- given: learnt(judge varchar, trace_id varchar)
with every_verdict as (
    select day, trace_id, content_hash, judge_version, probability, tier
    from scores
    where metric = 'perceived_error' and span_id is null and probability is not null
    union all
    select day, trace_id, content_hash, judge_version, probability, tier
    from shadow_scores
),

said as (
    select
        s.day,
        s.trace_id,
        s.content_hash,
        s.judge_version = $first_judge
        or split_part(s.judge_version, '/', 1) = $first_judge as is_first,
        s.judge_version = $second_judge
        or split_part(s.judge_version, '/', 1) = $second_judge as is_second,
        s.probability,
        case s.tier
            when 'generative' then 4 when 'lora' then 3 when 'frozen' then 2 when 'lexical' then 1
            else 0
        end as height,
        s.judge_version
    from every_verdict as s
    where (is_first or is_second) and ($first::date is null or s.day >= $first::date)
),

pairs as (
    select
        day,
        trace_id,
        content_hash,
        arg_max(probability, (height, judge_version)) filter (where is_first) as first,
        arg_max(probability, (height, judge_version)) filter (where is_second) as second
    from said
    group by day, trace_id, content_hash
),

learnt_days as (
    select distinct p.day
    from pairs as p
    inner join learnt as k on k.trace_id = p.trace_id
    where p.first is not null and p.second is not null
        -- A run names all who read: the judge, a generative one after it, and the adapter of that.
        and list_has_any(
            string_split(split_part($first_judge, '/', 1), '+')
            || string_split(split_part($second_judge, '/', 1), '+'),
            [k.judge]
        )
)

select
    t.app || ' / ' || t.session_id as session,
    p.first,
    p.second,
    l.perceived_error,
    coalesce(l.is_audit, false) as is_audit,
    q.audit_probability,
    -- Of what the queue drew, by either draw; null elsewhere.
    q.draw_probability,
    -- Of a label that came with its chance from elsewhere.
    if(q.trace_id is null, l.draw_probability, null) as given_probability,
    t.day in (
        select day from queued where not is_panel group by day having not bool_or(is_open)
    ) as is_closed_day
from pairs as p
inner join traces as t
    on t.day = p.day and t.trace_id = p.trace_id and t.content_hash = p.content_hash
left join labels as l
    on l.trace_id = t.trace_id and l.content_hash = t.content_hash
    -- A panel of judges is no measure of a judge.
    and l.source <> 'panel'
left join queued as q
    on q.trace_id = t.trace_id and q.content_hash = t.content_hash and not q.is_panel
where t.is_current and t.is_eligible and p.first is not null and p.second is not null
    and ($app::varchar is null or t.app = $app)
    and (p.day not in (from learnt_days) or split_of(t.session_id, t.user_id) = 'holdout')
order by t.day, t.trace_id

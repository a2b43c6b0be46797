-- One row an item, with the reason of the verdict that it was drawn by.
-- given: items(item_id bigint, day date, trace_id varchar, content_hash varchar,
--     judge_version varchar)
select i.item_id, s.reason
from items as i
left join scores as s
    on s.day = i.day and s.trace_id = i.trace_id and s.content_hash = i.content_hash
    and s.judge_version = i.judge_version and s.metric = 'perceived_error' and s.span_id is null
-- A judge has one row a tier on a trace: the reason of the highest is told.
qualify row_number() over (
    partition by i.item_id
    order by case s.tier when 'lora' then 3 when 'frozen' then 2 else 1 end desc
) = 1
order by i.item_id

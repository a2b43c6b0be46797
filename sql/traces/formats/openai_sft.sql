-- One row a conversation of an OpenAI fine-tuning file.
-- format: openai-sft
-- keys: messages
-- messages: messages
-- columns: {
--   "metadata": "JSON",
--   "messages": [{"role": "VARCHAR", "content": "JSON", "refusal": "VARCHAR", "tool_calls": "JSON",
--                 "function_call": "JSON", "tool_call_id": "VARCHAR", "name": "VARCHAR",
--                 "weight": "DOUBLE"}]}
select
    line_no,
    metadata,
    case
        when len(list_filter(messages, lambda m: m.weight is not null)) > 0
            then json_merge_patch(
                rest, json_object('weights', list_transform(messages, lambda m: m.weight))
            )
        else rest
    end as rest,
    messages
from file_rows

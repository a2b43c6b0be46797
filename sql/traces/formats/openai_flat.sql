-- One row a call of the OpenAI chat API whose messages and choices stand side by side.
-- format: openai-flat
-- keys: messages, choices
-- messages: messages
-- columns: {
--   "id": "VARCHAR", "model": "VARCHAR", "created": "VARCHAR", "user": "VARCHAR",
--   "metadata": "JSON",
--   "messages": [{"role": "VARCHAR", "content": "JSON", "tool_calls": "JSON",
--                 "function_call": "JSON", "tool_call_id": "VARCHAR", "name": "VARCHAR"}],
--   "choices": [{"message": {"role": "VARCHAR", "content": "JSON", "refusal": "VARCHAR",
--                            "tool_calls": "JSON", "function_call": "JSON"},
--                "finish_reason": "VARCHAR"}],
--   "usage": {"prompt_tokens": "BIGINT", "completion_tokens": "BIGINT"}}
select
    line_no,
    id as trace_id,
    "user" as user_id,
    created as started_at,
    choices[1].finish_reason as status,
    model as model_name,
    usage.prompt_tokens,
    usage.completion_tokens,
    metadata,
    case
        when len(choices) > 1
            then json_merge_patch(rest, json_object('other_choices', to_json(choices[2:])))
        else rest
    end as rest,
    case when messages is not null then
        list_concat(messages, list_transform(choices[1:1], lambda choice: choice.message))
    end as messages
from file_rows

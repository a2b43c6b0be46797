-- One row a line of an OpenAI batch output: an answer, without the request that it answers.
-- format: openai-batch
-- keys: custom_id, response.body
-- messages: response.body.choices
-- columns: {
--   "custom_id": "VARCHAR",
--   "response": {"body": {
--     "id": "VARCHAR", "model": "VARCHAR", "created": "VARCHAR",
--     "choices": [{"message": {"role": "VARCHAR", "content": "JSON", "refusal": "VARCHAR",
--                              "tool_calls": "JSON", "function_call": "JSON"},
--                  "finish_reason": "VARCHAR"}],
--     "usage": {"prompt_tokens": "BIGINT", "completion_tokens": "BIGINT"}}}}
select
    line_no,
    response.body.id as trace_id,
    response.body.created as started_at,
    response.body.choices[1].finish_reason as status,
    response.body.model as model_name,
    response.body.usage.prompt_tokens,
    response.body.usage.completion_tokens,
    json_merge_patch(rest, json_object(
        'custom_id', custom_id,
        'other_choices',
        if(len(response.body.choices) > 1, to_json(response.body.choices[2:]), null)
    )) as rest,
    list_transform(response.body.choices[1:1], lambda choice: choice.message) as messages
from file_rows

-- One row a logged call of the OpenAI chat API, its request and its response.
-- format: openai-chat
-- keys: request.messages, response
-- messages: request.messages
-- columns: {
--   "request": {"messages": [{"role": "VARCHAR", "content": "JSON", "tool_calls": "JSON",
--                             "function_call": "JSON", "tool_call_id": "VARCHAR", "name": "VARCHAR"}],
--               "model": "VARCHAR", "user": "VARCHAR", "metadata": "JSON"},
--   "response": {"id": "VARCHAR", "model": "VARCHAR", "created": "VARCHAR", "error": "JSON",
--                "choices": [{"message": {"role": "VARCHAR", "content": "JSON", "refusal": "VARCHAR",
--                                         "tool_calls": "JSON", "function_call": "JSON"},
--                             "finish_reason": "VARCHAR"}],
--                "usage": {"prompt_tokens": "BIGINT", "completion_tokens": "BIGINT"}},
--   "timestamp": "VARCHAR", "workload_id": "VARCHAR"}
select
    line_no,
    response.id as trace_id,
    workload_id as app,
    coalesce(
        json_extract_string(request.metadata, '$.session_id'),
        json_extract_string(request.metadata, '$.conversation_id'),
        json_extract_string(request.metadata, '$.thread_id')
    ) as session_id,
    coalesce(request.user, json_extract_string(request.metadata, '$.user_id')) as user_id,
    coalesce("timestamp", response.created) as started_at,
    if(response.error is not null, 'error', response.choices[1].finish_reason) as status,
    coalesce(response.model, request.model) as model_name,
    response.usage.prompt_tokens,
    response.usage.completion_tokens,
    request.metadata,
    -- An error and further choices stay; only the first choice is a message.
    json_merge_patch(rest, json_object('response', json_object(
        'error', response.error,
        'other_choices', if(len(response.choices) > 1, to_json(response.choices[2:]), null)
    ))) as rest,
    case when request.messages is not null then
        list_concat(
            request.messages, list_transform(response.choices[1:1], lambda choice: choice.message)
        )
    end as messages
from file_rows

-- One row a conversation in the ShareGPT form, whatever its dialect calls turns and speakers.
-- format: sharegpt
-- keys: conversations
-- keys: messages.from, messages.value
-- messages: conversations
-- columns: {
--   "id": "VARCHAR", "system": "JSON",
--   "conversations": [{"from": "VARCHAR", "value": "JSON", "role": "VARCHAR", "content": "JSON"}],
--   "messages": [{"from": "VARCHAR", "value": "JSON", "role": "VARCHAR", "content": "JSON"}]}
with spoken as (
    select
        *,
        list_transform(
            coalesce(conversations, messages),
            lambda m: {
                'speaker': coalesce(m.role, m.from),
                'content': coalesce(m.content, m.value),
                'text': json_extract_string(coalesce(m.content, m.value), '$')
            }
        ) as turns
    from file_rows
)
select
    line_no,
    id as trace_id,
    rest,
    case when turns is not null then list_concat(
        if(
            coalesce(json_extract_string(system, '$'), '') = '',
            [],
            [{'role': 'system', 'content': system, 'tool_calls': null::json}]
        ),
        list_transform(turns, lambda m: {
            'role': case m.speaker
                when 'human' then 'user'
                when 'gpt' then 'assistant'
                when 'chatgpt' then 'assistant'
                when 'bing' then 'assistant'
                when 'bard' then 'assistant'
                when 'function_call' then 'assistant'
                when 'observation' then 'tool'
                else m.speaker
            end,
            -- The value of a function call is its JSON.
            'content': if(
                m.speaker = 'function_call' and json_valid(m.text), null::json, m.content
            ),
            'tool_calls': case when m.speaker = 'function_call' and json_valid(m.text) then
                json_array(json_object('type', 'function', 'function', m.text::json))
            end
        })) end as messages
from spoken

-- One row a preference of an OpenAI DPO file; the preferred answer ends the conversation.
-- format: openai-dpo
-- keys: input.messages, preferred_output
-- messages: input.messages
-- columns: {
--   "input": {"messages": [{"role": "VARCHAR", "content": "JSON", "tool_calls": "JSON",
--                           "tool_call_id": "VARCHAR", "name": "VARCHAR"}]},
--   "preferred_output": [{"role": "VARCHAR", "content": "JSON", "tool_calls": "JSON",
--                         "tool_call_id": "VARCHAR", "name": "VARCHAR"}]}
select
    line_no,
    rest,
    case when input.messages is not null then
        list_concat(input.messages, preferred_output)
    end as messages
from file_rows

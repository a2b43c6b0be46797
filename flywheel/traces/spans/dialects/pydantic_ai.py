"""Pydantic AI and Logfire: whole conversations on the agent's span, events as one attribute."""

from flywheel.traces.spans.dialects import Dialect

PYDANTIC_AI = Dialect(
    fields={
        "pydantic_ai.all_messages": "input",
        "all_messages_events": "input",
        "final_result": "output",
        "tool_arguments": "input",
        "tool_response": "output",
    }
)
# Older versions keep a call's events in this attribute: it is surer than no message at all.
PYDANTIC_AI_EVENTS = Dialect(fields={"events": "input"})

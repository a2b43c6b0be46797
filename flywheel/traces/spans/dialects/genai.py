"""OpenTelemetry's conventions for generative AI: the present ones, and those before 1.37."""

from flywheel.traces.spans.dialects import Dialect

GENAI = Dialect(
    fields={
        "gen_ai.input.messages": "input",
        "gen_ai.output.messages": "output",
        "gen_ai.system_instructions": "system",
        "gen_ai.tool.call.arguments": "input",
        "gen_ai.tool.call.result": "output",
        "gen_ai.tool.name": "tool_name",
        "gen_ai.tool.call.id": "tool_call_id",
        "gen_ai.retrieval.query.text": "input",
        "gen_ai.retrieval.documents": "output",
        "gen_ai.conversation.id": "session_id",
        "gen_ai.response.model": "model_name",
        "gen_ai.request.model": "model_name",
        "gen_ai.provider.name": "provider",
        "gen_ai.system": "provider",
        "gen_ai.usage.input_tokens": "prompt_tokens",
        "gen_ai.usage.prompt_tokens": "prompt_tokens",
        "gen_ai.usage.output_tokens": "completion_tokens",
        "gen_ai.usage.completion_tokens": "completion_tokens",
        "gen_ai.usage.cost": "cost_usd",
    },
    kinds={
        "gen_ai.operation.name": {
            "chat": "llm",
            "generate_content": "llm",
            "text_completion": "llm",
            "completion": "llm",
            "embeddings": "embedding",
            "execute_tool": "tool",
            "invoke_agent": "agent",
            "create_agent": "agent",
            "invoke_workflow": "agent",
            "retrieval": "retriever",
        }
    },
)

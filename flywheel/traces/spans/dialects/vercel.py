"""The AI SDK of Vercel."""

from flywheel.traces.spans.dialects import Dialect

VERCEL = Dialect(
    fields={
        "ai.prompt.messages": "input",
        "ai.prompt": "input",
        "ai.response.text": "output",
        "ai.response.object": "output",
        "ai.result.text": "output",
        "ai.result.object": "output",
        "ai.response.toolCalls": "calls",
        "ai.result.toolCalls": "calls",
        "ai.toolCall.args": "input",
        "ai.toolCall.result": "output",
        "ai.toolCall.name": "tool_name",
        "ai.toolCall.id": "tool_call_id",
        "ai.values": "input",
        "ai.value": "input",
        "ai.response.model": "model_name",
        "ai.model.id": "model_name",
        "ai.model.provider": "provider",
        "ai.usage.inputTokens": "prompt_tokens",
        "ai.usage.promptTokens": "prompt_tokens",
        "ai.usage.outputTokens": "completion_tokens",
        "ai.usage.completionTokens": "completion_tokens",
        "ai.telemetry.metadata.sessionId": "session_id",
        "ai.telemetry.metadata.userId": "user_id",
        "ai.telemetry.metadata.tags": "tags",
    },
    kinds={
        "ai.operationId": {
            "ai.generatetext": "agent",
            "ai.generatetext.dogenerate": "llm",
            "ai.streamtext": "agent",
            "ai.streamtext.dostream": "llm",
            "ai.generateobject": "agent",
            "ai.generateobject.dogenerate": "llm",
            "ai.streamobject": "agent",
            "ai.streamobject.dostream": "llm",
            "ai.toolcall": "tool",
            "ai.embed": "chain",
            "ai.embed.doembed": "embedding",
            "ai.embedmany": "chain",
            "ai.embedmany.doembed": "embedding",
        }
    },
)

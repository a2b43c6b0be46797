"""Traceloop's OpenLLMetry, and the strings that came before any convention."""

from flywheel.traces.spans.dialects import Dialect

TRACELOOP = Dialect(
    fields={
        "gen_ai.prompt": "input",
        "gen_ai.completion": "output",
        "traceloop.entity.input": "input",
        "traceloop.entity.output": "output",
        "traceloop.association.properties.session_id": "session_id",
        "traceloop.association.properties.user_id": "user_id",
        "llm.usage.prompt_tokens": "prompt_tokens",
        "llm.usage.completion_tokens": "completion_tokens",
    },
    kinds={
        "traceloop.span.kind": {
            "workflow": "agent",
            "task": "chain",
            "agent": "agent",
            "tool": "tool",
        },
        "llm.request.type": {
            "chat": "llm",
            "completion": "llm",
            "embedding": "embedding",
            "rerank": "retriever",
        },
    },
    lists={"gen_ai.prompt": "input", "gen_ai.completion": "output"},
)
# Words of a resource rather than of a span.
RESOURCE = Dialect(
    fields={
        "flywheel.app": "app",
        "error.message": "error",
        "exception.message": "error",
        "error.type": "error",
        "service.version": "release",
    }
)

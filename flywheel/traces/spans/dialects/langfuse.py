"""Langfuse's SDKs, which send OpenTelemetry spans with attributes of their own."""

from flywheel.traces.spans.dialects import Dialect

LANGFUSE = Dialect(
    fields={
        "langfuse.observation.input": "input",
        "langfuse.observation.output": "output",
        "langfuse.trace.input": "input",
        "langfuse.trace.output": "output",
        "langfuse.observation.model.name": "model_name",
        "langfuse.observation.usage_details": "usage",
        "langfuse.observation.cost_details": "costs",
        "langfuse.observation.level": "level",
        "langfuse.observation.status_message": "error",
        "langfuse.session.id": "session_id",
        "langfuse.user.id": "user_id",
        "langfuse.release": "release",
        "langfuse.trace.tags": "tags",
    },
    kinds={
        "langfuse.observation.type": {
            "generation": "llm",
            "agent": "agent",
            "tool": "tool",
            "retriever": "retriever",
            "embedding": "embedding",
            "guardrail": "guardrail",
            "evaluator": "evaluator",
            "chain": "chain",
            "span": "chain",
            "event": "chain",
        }
    },
)

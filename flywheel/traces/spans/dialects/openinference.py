"""OpenInference, as Phoenix and Arize instrument with it."""

from flywheel.traces.spans.dialects import Dialect

OPENINFERENCE = Dialect(
    fields={
        "llm.response.model_name": "model_name",
        "llm.model_name": "model_name",
        "llm.request.model_name": "model_name",
        "embedding.model_name": "model_name",
        "reranker.model_name": "model_name",
        "llm.provider": "provider",
        "llm.system": "provider",
        "tool.name": "tool_name",
        "tool.id": "tool_call_id",
        "llm.token_count.prompt": "prompt_tokens",
        "llm.token_count.completion": "completion_tokens",
        "llm.cost.total": "cost_usd",
        "session.id": "session_id",
        "user.id": "user_id",
        "enduser.id": "user_id",
        "tag.tags": "tags",
    },
    kinds={
        "openinference.span.kind": {
            "llm": "llm",
            "agent": "agent",
            "tool": "tool",
            "chain": "chain",
            "prompt": "chain",
            "retriever": "retriever",
            "reranker": "retriever",
            "embedding": "embedding",
            "guardrail": "guardrail",
            "evaluator": "evaluator",
        }
    },
    lists={
        "llm.input_messages": "input",
        "llm.output_messages": "output",
        "llm.prompts": "input",
        "llm.choices": "output",
        "retrieval.documents": "output",
        "reranker.output_documents": "output",
    },
)
# Of no known shape: any JSON, or any text.
VALUES = Dialect(
    fields={"input.value": "input", "output.value": "output", "tool.parameters": "input"}
)

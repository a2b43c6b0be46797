"""MLflow, whose attributes are JSON text, be they a word."""

from flywheel.traces.spans.dialects import Dialect

MLFLOW = Dialect(
    fields={
        "mlflow.spanInputs": "input",
        "mlflow.spanOutputs": "output",
        "mlflow.llm.model": "model_name",
        "mlflow.llm.provider": "provider",
        "mlflow.chat.tokenUsage": "usage",
        "mlflow.llm.cost": "costs",
        "mlflow.trace.session": "session_id",
        "mlflow.trace.user": "user_id",
    },
    kinds={
        "mlflow.spanType": {
            "llm": "llm",
            "chat_model": "llm",
            "agent": "agent",
            "tool": "tool",
            "retriever": "retriever",
            "reranker": "retriever",
            "embedding": "embedding",
            "guardrail": "guardrail",
            "evaluator": "evaluator",
            "chain": "chain",
            "parser": "chain",
            "workflow": "chain",
            "task": "chain",
            "memory": "chain",
        }
    },
    is_encoded=True,
)

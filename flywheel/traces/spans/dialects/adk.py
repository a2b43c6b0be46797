"""Google's Agent Development Kit."""

from flywheel.traces.spans.dialects import Dialect

ADK = Dialect(
    fields={
        "gcp.vertex.agent.llm_request": "input",
        "gcp.vertex.agent.llm_response": "output",
        "gcp.vertex.agent.tool_call_args": "input",
        "gcp.vertex.agent.tool_response": "output",
        "gcp.vertex.agent.session_id": "session_id",
    }
)

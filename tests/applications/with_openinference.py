"""An agent with the client `openai`, instrumented by OpenInference for OpenTelemetry.

Where its spans go, the environment says: OTEL_EXPORTER_OTLP_ENDPOINT and _HEADERS.
"""

import json
import sys

from openai import OpenAI
from openinference.instrumentation import using_attributes
from openinference.instrumentation.openai import OpenAIInstrumentor
from openinference.semconv.trace import SpanAttributes
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

QUESTION = "When does order 4711 leave?"
TOOL = {
    "type": "function",
    "function": {
        "name": "find_order",
        "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}},
    },
}


def ask(client: OpenAI, messages: list[object]) -> object:
    answer = client.chat.completions.create(
        model="small-model", messages=messages, tools=[TOOL], temperature=0
    )
    return answer.choices[0].message


def main() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    tracer = provider.get_tracer("agent")
    client = OpenAI(base_url=sys.argv[1], api_key="none")
    kind = SpanAttributes.OPENINFERENCE_SPAN_KIND
    with (
        using_attributes(session_id="session-9", user_id="user-3", tags=["beta"]),
        tracer.start_as_current_span("answer", attributes={kind: "AGENT"}) as root,
    ):
        root.set_attribute(SpanAttributes.INPUT_VALUE, QUESTION)
        messages: list[object] = [
            {"role": "system", "content": "You look after orders."},
            {"role": "user", "content": QUESTION},
        ]
        said = ask(client, messages)
        call = said.tool_calls[0]
        with tracer.start_as_current_span(call.function.name, attributes={kind: "TOOL"}) as tool:
            found = json.dumps({"leaves": "Friday"})
            tool.set_attribute(SpanAttributes.TOOL_NAME, call.function.name)
            tool.set_attribute(SpanAttributes.INPUT_VALUE, call.function.arguments)
            tool.set_attribute(SpanAttributes.OUTPUT_VALUE, found)
        messages += [said, {"role": "tool", "tool_call_id": call.id, "content": found}]
        root.set_attribute(SpanAttributes.OUTPUT_VALUE, ask(client, messages).content)
        print(f"{root.get_span_context().trace_id:032x}")
    provider.shutdown()


if __name__ == "__main__":
    main()

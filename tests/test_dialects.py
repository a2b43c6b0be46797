"""Dialects of OpenTelemetry: each says the same in words of its own, and no attribute is lost."""

import json
import random
from dataclasses import asdict

import pytest

from flywheel.errors import BadInput
from flywheel.traces.feedback import FeedbackRow
from flywheel.traces.spans.formats.otlp import read
from flywheel.traces.spans.messages import messages_of
from flywheel.traces.spans.rules import KINDS, LISTS, RULES
from flywheel.traces.spans.span import Span
from tests.spans_json import (
    START_NS,
    as_json,
    attributes,
    dotted,
    read_one,
    request,
    span,
)

CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "find", "arguments": '{"town":"Turku"}'},
}
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Rain?"}]
CALLED = [{"role": "assistant", "content": "", "tool_calls": [CALL]}]

# By dialect, a call of a model: attributes, and the events of the span.
CALLS: dict[str, tuple[dict[str, object], list[dict[str, object]]]] = {
    "gen_ai": (
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "acme",
            "gen_ai.request.model": "m",
            "gen_ai.response.model": "m-1",
            "gen_ai.conversation.id": "s1",
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 3,
            "gen_ai.system_instructions": as_json([{"type": "text", "content": "Be brief."}]),
            "gen_ai.input.messages": as_json(
                [{"role": "user", "parts": [{"type": "text", "content": "Rain?"}]}]
            ),
            "gen_ai.output.messages": as_json(
                [
                    {
                        "role": "assistant",
                        "finish_reason": "tool_call",
                        "parts": [
                            {
                                "type": "tool_call",
                                "id": "c1",
                                "name": "find",
                                "arguments": {"town": "Turku"},
                            }
                        ],
                    }
                ]
            ),
        },
        [],
    ),
    "gen_ai before 1.37": (
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": "acme",
            "gen_ai.response.model": "m-1",
            "session.id": "s1",
            "gen_ai.usage.prompt_tokens": 12,
            "gen_ai.usage.completion_tokens": 3,
        },
        [
            {"name": "gen_ai.system.message", "attributes": attributes({"content": "Be brief."})},
            {"name": "gen_ai.user.message", "attributes": attributes({"content": "Rain?"})},
            {
                "name": "gen_ai.choice",
                "attributes": attributes(
                    {"index": 0, "message": as_json({"role": "assistant", "tool_calls": [CALL]})}
                ),
            },
        ],
    ),
    "openinference": (
        {
            "openinference.span.kind": "LLM",
            "llm.provider": "acme",
            "llm.model_name": "m-1",
            "session.id": "s1",
            "llm.token_count.prompt": 12,
            "llm.token_count.completion": 3,
            "input.value": "something else",
            **dict(dotted("llm.input_messages", [{"message": message} for message in ASKED])),
            **dict(
                dotted(
                    "llm.output_messages",
                    [{"message": {"role": "assistant", "tool_calls": [{"tool_call": CALL}]}}],
                )
            ),
        },
        [],
    ),
    "openinference, nested": (
        {
            "openinference": {"span": {"kind": "LLM"}},
            "session": {"id": "s1"},
            "llm": {
                "provider": "acme",
                "model_name": "m-1",
                "token_count": {"prompt": 12, "completion": 3},
                "input_messages": [{"message": message} for message in ASKED],
                "output_messages": [
                    {"message": {"role": "assistant", "tool_calls": [{"tool_call": CALL}]}}
                ],
            },
        },
        [],
    ),
    "traceloop": (
        {
            "llm.request.type": "chat",
            "gen_ai.system": "acme",
            "gen_ai.response.model": "m-1",
            "traceloop.association.properties.session_id": "s1",
            "gen_ai.usage.prompt_tokens": 12,
            "gen_ai.usage.completion_tokens": 3,
            **dict(dotted("gen_ai.prompt", ASKED)),
            **dict(
                dotted(
                    "gen_ai.completion",
                    [
                        {
                            "role": "assistant",
                            "finish_reason": "tool_calls",
                            "tool_calls": [
                                {"id": "c1", "name": "find", "arguments": '{"town":"Turku"}'}
                            ],
                        }
                    ],
                )
            ),
        },
        [],
    ),
    "vercel": (
        {
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.model.provider": "acme",
            "ai.model.id": "m",
            "ai.response.model": "m-1",
            "ai.telemetry.metadata.sessionId": "s1",
            "ai.usage.promptTokens": 12,
            "ai.usage.completionTokens": 3,
            "ai.prompt.messages": as_json(
                [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": [{"type": "text", "text": "Rain?"}]},
                ]
            ),
            "ai.response.toolCalls": as_json(
                [{"toolCallId": "c1", "toolName": "find", "input": {"town": "Turku"}}]
            ),
        },
        [],
    ),
    "pydantic ai": (
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": "acme",
            "gen_ai.response.model": "m-1",
            "gen_ai.conversation.id": "s1",
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 3,
            "events": as_json(
                [
                    {"event.name": "gen_ai.system.message", "content": "Be brief."},
                    {"event.name": "gen_ai.user.message", "content": "Rain?"},
                    {
                        "event.name": "gen_ai.choice",
                        "message": {"role": "assistant", "tool_calls": [CALL]},
                    },
                ]
            ),
        },
        [],
    ),
    "mlflow": (
        {
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.llm.provider": '"acme"',
            "mlflow.llm.model": '"m-1"',
            "mlflow.trace.session": '"s1"',
            "mlflow.chat.tokenUsage": as_json({"input_tokens": 12, "output_tokens": 3}),
            "mlflow.spanInputs": as_json({"messages": ASKED, "temperature": 0}),
            "mlflow.spanOutputs": as_json({"choices": [{"message": CALLED[0]}]}),
        },
        [],
    ),
    "langfuse": (
        {
            "langfuse.observation.type": "generation",
            "gen_ai.system": "acme",
            "langfuse.observation.model.name": "m-1",
            "session.id": "s1",
            "langfuse.observation.usage_details": as_json({"input": 12, "output": 3}),
            "langfuse.observation.input": as_json(ASKED),
            "langfuse.observation.output": as_json(CALLED[0]),
        },
        [],
    ),
    "adk": (
        {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.system": "acme",
            "gen_ai.response.model": "m-1",
            "gcp.vertex.agent.session_id": "s1",
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 3,
            "gcp.vertex.agent.llm_request": as_json(
                {
                    "system_instruction": "Be brief.",
                    "contents": [{"role": "user", "parts": [{"text": "Rain?"}]}],
                }
            ),
            "gcp.vertex.agent.llm_response": as_json(
                {
                    "content": {
                        "role": "model",
                        "parts": [
                            {
                                "functionCall": {
                                    "id": "c1",
                                    "name": "find",
                                    "args": {"town": "Turku"},
                                }
                            }
                        ],
                    }
                }
            ),
        },
        [],
    ),
}


def said(of: Span) -> list[dict[str, object]]:
    """All messages of a call, by what every dialect can say of them."""
    kept = ("role", "content", "tool_calls")
    if isinstance(of.input, list) and any(
        isinstance(item, dict) and item.get("event.name") == "gen_ai.choice" for item in of.input
    ):
        messages = messages_of(of.input)
    else:
        messages = messages_of(of.input) + messages_of(of.output, "assistant")
    return [{key: m[key] for key in kept if key in m} for m in messages]


@pytest.mark.parametrize("dialect", CALLS)
def test_a_call_of_a_model_is_the_same_in_every_dialect(dialect: str) -> None:
    values, events = CALLS[dialect]
    found = read_one(values, events=events)
    assert (found.kind, found.provider, found.model_name) == ("llm", "acme", "m-1")
    assert (found.session_id, found.app) == ("s1", "shop")
    assert (found.prompt_tokens, found.completion_tokens) == (12, 3)
    assert json.loads(json.dumps(said(found))) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain?"},
        *CALLED,
    ]


@pytest.mark.parametrize(
    "values",
    [
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "find",
            "gen_ai.tool.call.id": "c1",
            "gen_ai.tool.call.arguments": '{"town": "Turku"}',
            "gen_ai.tool.call.result": '["rain"]',
        },
        {
            "openinference.span.kind": "TOOL",
            "tool.name": "find",
            "tool.id": "c1",
            "input.value": '{"town": "Turku"}',
            "output.value": '["rain"]',
        },
        {
            "ai.operationId": "ai.toolCall",
            "ai.toolCall.name": "find",
            "ai.toolCall.id": "c1",
            "ai.toolCall.args": '{"town": "Turku"}',
            "ai.toolCall.result": '["rain"]',
        },
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "find",
            "gen_ai.tool.call.id": "c1",
            "tool_arguments": '{"town": "Turku"}',
            "tool_response": '["rain"]',
        },
        {
            "traceloop.span.kind": "tool",
            "gen_ai.tool.name": "find",
            "gen_ai.tool.call.id": "c1",
            "traceloop.entity.input": '{"town": "Turku"}',
            "traceloop.entity.output": '["rain"]',
        },
        {
            "gen_ai.tool.name": "find",
            "gen_ai.tool.call.id": "c1",
            "gcp.vertex.agent.tool_call_args": '{"town": "Turku"}',
            "gcp.vertex.agent.tool_response": '["rain"]',
        },
    ],
)
def test_a_tool_is_the_same_in_every_dialect(values: dict[str, object]) -> None:
    found = read_one(values)
    assert (found.kind, found.tool_name, found.tool_call_id) == ("tool", "find", "c1")
    assert (found.input, found.output) == ({"town": "Turku"}, ["rain"])


def test_a_tool_without_a_name_of_its_own_has_that_of_its_span() -> None:
    assert read_one({"openinference.span.kind": "TOOL"}).tool_name == "a"


def test_the_surest_word_wins_and_the_others_stay() -> None:
    found = read_one(
        {
            "gen_ai.prompt": "string",
            "input.value": "value",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": "openinference",
            "gen_ai.input.messages": as_json([{"role": "user", "content": "gen_ai"}]),
            "langfuse.observation.input": "vendor",
        }
    )
    assert found.input == "vendor"
    assert found.metadata["gen_ai.prompt"] == "string"
    assert found.metadata["llm.input_messages.0.message.content"] == "openinference"
    assert found.metadata["gen_ai.input.messages"] == '[{"role": "user", "content": "gen_ai"}]'


def test_a_count_of_nothing_is_not_known_and_gives_way() -> None:
    found = read_one({"gen_ai.usage.input_tokens": 0, "llm.token_count.prompt": 7})
    assert (found.prompt_tokens, found.metadata["gen_ai.usage.input_tokens"]) == (7, 0)
    assert read_one({"gen_ai.usage.output_tokens": 0}).completion_tokens is None


@pytest.mark.parametrize(
    ("values", "cost"),
    [
        ({"llm.cost.total": 0.5}, 0.5),
        ({"gen_ai.usage.cost": "0.25"}, 0.25),
        ({"langfuse.observation.cost_details": '{"input": 0.25, "output": 0.5}'}, 0.75),
        ({"langfuse.observation.cost_details": '{"input": 0.25, "total": 0.5}'}, 0.5),
        ({"mlflow.llm.cost": '{"input_cost": 0.25, "total_cost": 0.5}'}, 0.5),
        ({"llm.cost.total": 0.0}, None),
        ({"llm.cost.total": "NaN"}, None),
    ],
)
def test_a_cost_is_in_dollars_wherever_it_stands(
    values: dict[str, object], cost: float | None
) -> None:
    assert read_one(values).cost_usd == cost


def test_an_error_is_what_the_status_says_or_the_exception() -> None:
    failed = {"status": {"code": 2, "message": "boom"}}
    assert (read_one({}, **failed).status, read_one({}, **failed).error) == ("error", "boom")
    event = {
        "name": "exception",
        "timeUnixNano": str(START_NS),
        "attributes": attributes({"exception.type": "ValueError", "exception.message": "no"}),
    }
    found = read_one({}, status={"code": "STATUS_CODE_ERROR"}, events=[event])
    assert (found.status, found.error) == ("error", "ValueError: no")
    (kept,) = found.metadata["span.events"]  # type: ignore[misc]
    assert kept["name"] == "exception"
    assert read_one({"langfuse.observation.level": "ERROR"}).status == "error"


def test_annotations_are_feedback_and_no_attributes() -> None:
    values = {
        "openinference.span.kind": "LLM",
        "annotations.0.annotation.name": "user feedback",
        "annotations.0.annotation.score": 0.0,
        "annotations.0.annotation.label": "thumbs down",
        "annotations.0.annotation.explanation": "wrong town",
        "annotations.0.annotation.annotator_kind": "HUMAN",
        "trace.evaluations.0.evaluation.name": "polite",
        "trace.evaluations.0.evaluation.score": 1,
        "trace.evaluations.0.evaluation.annotator_kind": "LLM",
    }
    found, *rows = read(request(span("a", "", values)))
    assert isinstance(found, Span)
    assert not [key for key in found.metadata if "annotation" in key or "evaluation" in key]
    complaint, polite = (row for row in rows if isinstance(row, FeedbackRow))
    assert (complaint.trace_id, complaint.span_id, complaint.source) == ("t1", "a", "end_user")
    assert (complaint.value, complaint.label, complaint.comment) == (0, "thumbs down", "wrong town")
    assert (polite.span_id, polite.value, polite.source, polite.app) == (None, 1, "llm", "shop")


def test_what_only_carries_annotations_speaks_of_the_span_that_it_links_to() -> None:
    carrier = span(
        "b",
        "",
        {"annotations.0.annotation.name": "right", "annotations.0.annotation.score": 1},
        trace_id="t2",
        links=[{"traceId": "t1", "spanId": "a"}],
    )
    (row,) = read(request(carrier))
    assert isinstance(row, FeedbackRow)
    assert (row.trace_id, row.span_id, row.source) == ("t1", "a", "code")


def test_an_evaluation_event_is_feedback_on_its_span() -> None:
    event = {
        "name": "gen_ai.evaluation.result",
        "timeUnixNano": str(START_NS),
        "attributes": attributes(
            {"gen_ai.evaluation.name": "Relevance", "gen_ai.evaluation.score.value": 0.25}
        ),
    }
    _, row = read(request(span("a", events=[event])))
    assert isinstance(row, FeedbackRow)
    assert (row.span_id, row.name, row.value, row.source) == ("a", "Relevance", 0.25, "code")
    assert row.given_at is not None
    assert row.given_at.isoformat() == "2026-03-02T10:00:00+00:00"


def test_only_who_has_no_parent_here_keeps_what_is_said_of_the_resource() -> None:
    above, below = read(request(span("a"), span("b", "a"), **{"host.name": "h"}))
    assert isinstance(above, Span)
    assert isinstance(below, Span)
    assert above.metadata["resource"] == {"service.name": "shop", "host.name": "h"}
    assert "resource" not in below.metadata


def test_an_attribute_may_be_called_like_a_part_of_the_envelope() -> None:
    found = read_one({"resource": "r", "scope": "s"})
    assert (found.metadata["resource"], found.metadata["scope"]) == ("r", "s")
    assert found.metadata["otel.resource"] == {"service.name": "shop"}
    assert found.metadata["otel.scope"] == {"name": "test"}


def test_the_sender_names_the_application_before_its_service_does() -> None:
    (found,) = read(request(span("a")) | {"app": "by-key"})
    assert found.app == "by-key"
    (found,) = read(request(span("a"), **{"service.name": "unknown_service:python"}))
    assert found.app is None


def test_a_line_of_one_resource_and_names_with_underscores_are_read_too() -> None:
    (group,) = request(span("a", "p", {"tool.name": "find"}))["resourceSpans"]  # type: ignore[misc]
    (found,) = read(group)
    assert isinstance(found, Span)
    assert (found.span_id, found.parent_id, found.tool_name) == ("a", "p", "find")
    underscored = {
        "resource_spans": [
            {
                "scope_spans": [
                    {
                        "spans": [
                            {
                                "trace_id": "t1",
                                "span_id": "a",
                                "parent_span_id": "p",
                                "start_time_unix_nano": START_NS,
                                "attributes": [
                                    {"key": "tool.name", "value": {"string_value": "find"}},
                                    {"key": "tool.id", "value": {"int_value": 3}},
                                ],
                            }
                        ]
                    }
                ]
            }
        ]
    }
    (found,) = read(underscored)
    assert isinstance(found, Span)
    assert (found.span_id, found.parent_id, found.started_ns) == ("a", "p", START_NS)
    assert (found.tool_name, found.tool_call_id) == ("find", "3")


@pytest.mark.parametrize(
    "row",
    [
        {"resourceSpans": 5},
        {"resourceSpans": [5]},
        {"resourceSpans": [{"scopeSpans": [{"spans": "x"}]}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"spanId": "a"}]}]}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "t", "events": 3}]}]}]},
    ],
)
def test_what_is_no_request_is_refused_with_a_reason(row: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=r"no list of objects|no traceId"):
        list(read(row))


def texts_in(value: object) -> str:
    """All that a span says, as one text, with JSON inside of texts unpacked."""
    return json.dumps(value, sort_keys=True, default=str).replace("\\", "")


@pytest.mark.parametrize("seed", range(40))
def test_no_attribute_is_lost(seed: int) -> None:
    """Whatever is sent together, each value is in a field or in the metadata."""
    made = random.Random(seed)
    names = [*RULES, *KINDS, *(f"{key}.0.message.content" for key in LISTS), "a.b", "app.colour"]
    names += [*(f"{key}.1.message.role" for key in LISTS), "llm.tools.0.tool.json_schema", "x"]
    values: dict[str, object] = {}
    for number, name in enumerate(made.sample(names, 14)):
        token = f"token{seed}x{number}"
        shapes: list[object] = [token, as_json([{"role": "user", "content": token}]), [token]]
        shapes += [as_json({"input": 900_000 + number}), 900_000 + number, as_json({"k": token})]
        values[name] = made.choice(shapes)
    found = read_one(values)
    everything = texts_in(asdict(found))
    for name, value in values.items():
        inner = texts_in(value).strip('"[]')
        marks = [word for word in everything.split('"') if word and word in inner]
        number = inner.split(":")[-1].strip(" }")
        assert marks or number in everything, (name, value)
        if "token" in inner:
            token = inner[inner.index("token") :].split('"')[0]
            assert token in everything, (name, value)


@pytest.mark.parametrize("dialect", CALLS)
def test_no_attribute_of_a_real_call_is_lost(dialect: str) -> None:
    values, events = CALLS[dialect]
    extra = {"vendor.colour": "blue", "vendor.list": ["a", "b"], "vendor.number": 5}
    found = read_one(values | extra, events=events)
    for key, value in extra.items():
        assert found.metadata[key] == value

"""Messages: every shape that tools write them in gives the same ones, and nothing is cut off."""

import json

import pytest

from flywheel.traces.spans.messages import messages_of

USER = {"role": "user", "content": "Rain?"}
ANSWER = {"role": "assistant", "content": "Yes."}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"in":"Turku"}'}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "rain", "tool_call_id": "c1"}


def constructed(name: str, **kwargs: object) -> dict[str, object]:
    path = ["langchain", "schema", "messages", name]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": kwargs}


SAME = {
    "plain": [USER, ANSWER],
    "a text of JSON": json.dumps([USER, ANSWER]),
    "an envelope": {"messages": [USER, ANSWER], "temperature": 0},
    "parts": [
        {"role": "user", "parts": [{"type": "text", "content": "Rain?"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Yes."}]},
    ],
    "wrapped": [{"message": USER}, {"message": ANSWER}],
    "constructors in a double list": [
        [constructed("HumanMessage", content="Rain?"), constructed("AIMessage", content="Yes.")]
    ],
    "dumps by type": [{"type": "human", "content": "Rain?"}, {"type": "ai", "content": "Yes."}],
    "dumps with data": [
        {"type": "human", "data": {"content": "Rain?"}},
        {"type": "ai", "data": {"content": "Yes."}},
    ],
    "pairs": [["human", "Rain?"], ["ai", "Yes."]],
    "speakers": [{"from": "human", "value": "Rain?"}, {"from": "gpt", "value": "Yes."}],
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": "Rain?"}]},
            {"role": "model", "parts": [{"text": "Yes."}]},
        ]
    },
    "responses": {
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Rain?"}],
            },
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Yes."}],
            },
        ]
    },
    "pydantic": [
        {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": "Rain?"}]},
        {"kind": "response", "parts": [{"part_kind": "text", "content": "Yes."}]},
    ],
    "events": [
        {"event.name": "gen_ai.user.message", "content": "Rain?"},
        {"event.name": "gen_ai.choice", "message": {"role": "assistant", "content": "Yes."}},
    ],
}


@pytest.mark.parametrize("shape", SAME)
def test_every_shape_gives_the_same_messages(shape: str) -> None:
    said = [{key: m[key] for key in ("role", "content")} for m in messages_of(SAME[shape])]
    assert said == [USER, ANSWER]


CALLS = {
    "plain": [CALLED, RESULT],
    "parts": [
        {
            "role": "assistant",
            "parts": [
                {"type": "tool_call", "id": "c1", "name": "find", "arguments": {"in": "Turku"}}
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "result": "rain"}]},
    ],
    "blocks": [
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "find", "input": {"in": "Turku"}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "rain"}],
        },
    ],
    "vercel": [
        {
            "role": "assistant",
            "content": [
                {
                    "type": "tool-call",
                    "toolCallId": "c1",
                    "toolName": "find",
                    "args": {"in": "Turku"},
                }
            ],
        },
        {
            "role": "tool",
            "content": [{"type": "tool-result", "toolCallId": "c1", "result": "rain"}],
        },
    ],
    "langchain": [
        constructed(
            "AIMessage",
            content="",
            tool_calls=[{"name": "find", "args": {"in": "Turku"}, "id": "c1"}],
        ),
        constructed("ToolMessage", content="rain", tool_call_id="c1"),
    ],
    "responses": [
        {"type": "function_call", "call_id": "c1", "name": "find", "arguments": '{"in":"Turku"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ],
    "bedrock": [
        {
            "role": "assistant",
            "content": [{"toolUse": {"toolUseId": "c1", "name": "find", "input": {"in": "Turku"}}}],
        },
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "rain"}]}}],
        },
    ],
}


@pytest.mark.parametrize("shape", CALLS)
def test_calls_and_results_are_the_same_in_every_shape(shape: str) -> None:
    assert messages_of(CALLS[shape]) == [CALLED, RESULT]


def test_an_answer_that_names_no_speaker_is_whose_it_is_said_to_be() -> None:
    assert messages_of("Yes.", "assistant") == [ANSWER]
    assert messages_of({"answer": "Yes."}, "assistant") == [ANSWER]
    assert messages_of({"choices": [{"message": {"content": "Yes.", "role": "assistant"}}]}) == [
        ANSWER
    ]


def test_what_is_no_message_is_what_was_said() -> None:
    (found,) = messages_of({"town": "Turku", "days": 3})
    assert found == {"role": "user", "content": '{"town":"Turku","days":3}'}
    assert messages_of('{"town": "Turku"}') == [{"role": "user", "content": '{"town": "Turku"}'}]
    assert messages_of(7) == [{"role": "user", "content": "7"}]


@pytest.mark.parametrize("nothing", [None, "", "  ", [], {}])
def test_nothing_said_is_no_message(nothing: object) -> None:
    assert messages_of(nothing) == []


def test_pictures_stay_parts_and_thoughts_stand_aside() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    (asked,) = messages_of([{"role": "user", "content": [{"type": "text", "text": "?"}, picture]}])
    assert asked["content"] == [{"type": "text", "text": "?"}, picture]
    blob = {"type": "blob", "modality": "image", "content": "aGk="}
    parts = [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "Yes."}, blob]
    (answer,) = messages_of([{"role": "assistant", "parts": parts}])
    assert answer["reasoning_content"] == "hm"
    assert answer["content"] == [{"type": "text", "text": "Yes."}, blob]


def test_keys_that_nobody_knows_stay_on_the_message() -> None:
    assert messages_of([USER | {"weight": 1, "cache": {"type": "x"}}]) == [
        USER | {"weight": 1, "cache": {"type": "x"}}
    ]
    (answer,) = messages_of([{"message": ANSWER, "finish_reason": "length"}])
    assert answer == ANSWER | {"finish_reason": "length"}


def test_a_speaker_that_nobody_knows_is_named() -> None:
    assert messages_of([{"role": "narrator", "content": "Night."}]) == [
        {"role": "user", "content": "Night.", "name": "narrator"}
    ]


@pytest.mark.parametrize("key", ["messages", "content", "message", "parts"])
@pytest.mark.parametrize("depth", [5, 200, 900])
def test_hostile_nesting_is_kept_as_it_is(key: str, depth: int) -> None:
    value: object = "core"
    for level in range(depth):
        value = [value] if level % 2 else {key: value, "role": "user"}
    assert "core" in json.dumps(messages_of(value))
    assert messages_of("[" * 50_000 + "]" * 50_000)[0]["role"] == "user"

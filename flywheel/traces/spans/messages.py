"""Messages of a span, in whichever shape a tool wrote them, as OpenAI's.

A JSON value in; messages with `role`, `content` and, where there are any, `tool_calls`,
`tool_call_id`, `name` and `reasoning_content` out. The one idea is three questions asked of a
value: is it a message, is it a list of them, is it an envelope that has them under a known key?
Where all answers are no, it is what one speaker said. Nothing is cut off: keys that are not ours
stay on the message, parts that are no text stay parts.
"""

from collections.abc import Mapping
from typing import cast

from flywheel.traces.spans.json_values import json_in, json_text, plain_text
from flywheel.traces.spans.parts import call_of, is_part, pieces_of
from flywheel.traces.spans.roles import role_named

MessageRow = dict[str, object]

# Keys under which tools keep messages, the surest first; an answer's keys come after a request's.
_ENVELOPES = (
    *("messages", "choices", "message", "generations", "contents", "candidates", "chat_history"),
    *("request", "response", "output", "input", "inputs", "outputs", "kwargs", "data", "content"),
    *("prompt", "prompts", "completion", "query", "question", "answer", "text", "result"),
)
_SYSTEM = (
    *("system", "system_instructions", "system_instruction", "systemInstruction", "instructions"),
)
# Deeper than this no tool hides its messages.
_MAX_WRAPPERS = 8
_HAS_WORDS = ("content", "parts", "tool_calls", "function_call", "toolCalls", "contents", "text")
_OURS = {"role", "content", "parts", "contents", "tool_calls", "type", "event.name", "part_kind"}
_OURS |= {"tool_call_id", "toolCallId", "function_call_name", "function_call_arguments_json"}
_OURS |= {"toolCalls"}


def messages_of(value: object, role: str = "user") -> list[MessageRow]:
    """The messages in `value`, in order; empty where it says nothing.

    `role` is that of words that no speaker is named for: a span's output is the assistant's.
    """
    if isinstance(value, str):
        return _of_text(value, role)
    found = found_messages(value, role)
    if found is not None:
        return found
    if value is None or value in ({}, []):
        return []
    return [{"role": role, "content": json_text(value)}]


def found_messages(value: object, role: str = "user") -> list[MessageRow] | None:
    """The messages in `value` where it has the shape of some; None where it is other JSON."""
    return _found(value, role, _MAX_WRAPPERS)


def _of_text(text: str, role: str) -> list[MessageRow]:
    if not text.strip():
        return []
    value = json_in(text)
    found = None if isinstance(value, str) else found_messages(value, role)
    return [{"role": role, "content": text}] if found is None else found


def _found(value: object, role: str, depth: int) -> list[MessageRow] | None:
    if depth == 0:
        return None
    if isinstance(value, dict):
        return _of_mapping(value, role, depth - 1)
    if isinstance(value, (list, tuple)):
        return _of_list(list(value), role, depth - 1)
    return None


def _of_list(items: list[object], role: str, depth: int) -> list[MessageRow] | None:
    if not items:
        return None
    ours = [_plain_message(item) for item in items]
    if depth and None not in ours:
        return cast("list[MessageRow]", ours)
    if len(items) == 2 and isinstance(items[1], str) and (speaker := role_named(items[0])):
        return [{"role": speaker, "content": items[1]}]
    if all(is_part(item) for item in items):
        return _message({"role": role, "content": items}, role)
    if any(isinstance(item, str) for item in items):
        texts = [item for item in items if isinstance(item, str)]
        return [{"role": role, "content": t} for t in texts] if len(texts) == len(items) else None
    each = [_found(item, role, depth) for item in items]
    if all(found is None for found in each):
        return None
    made: list[MessageRow] = []
    for item, found in zip(items, each, strict=True):
        made += [{"role": role, "content": json_text(item)}] if found is None else found
    return made


def _of_mapping(value: Mapping[str, object], role: str, depth: int) -> list[MessageRow] | None:
    if (plain := _plain_message(value)) is not None:
        return [plain]
    inner = value.get("message")
    if len(value) == 1 and isinstance(inner, dict):
        value = inner
    speaker = value.get("role")
    if isinstance(speaker, str) and any(key in value for key in _HAS_WORDS):
        return _message(value, role)
    return (
        _of_langchain(value, role)
        or _of_item(value, role, depth)
        or _of_pydantic(value)
        or _of_envelope(value, role, depth)
    )


def _of_langchain(value: Mapping[str, object], role: str) -> list[MessageRow] | None:
    """LangChain's constructors, its dumps by type, and ShareGPT's speakers."""
    kwargs, path = value.get("kwargs"), value.get("id")
    if isinstance(kwargs, dict) and isinstance(path, list) and path:
        speaker = role_named(path[-1]) or role_named(kwargs.get("type"))
        if speaker:
            return _message({**kwargs, "role": speaker}, role)
    kind = role_named(value.get("type"))
    if kind and isinstance(value.get("data"), dict):
        inner = value["data"]
        assert isinstance(inner, dict)
        return _message({**inner, "role": kind}, role)
    if kind and "content" in value:
        return _message({**value, "role": kind}, role)
    speaker = role_named(value.get("from"))
    if speaker and "value" in value:
        return [{"role": speaker, "content": plain_text(value["value"])}]
    return None


def _of_item(value: Mapping[str, object], role: str, depth: int) -> list[MessageRow] | None:
    """Items of OpenAI's Responses, and events of the older conventions of OpenTelemetry."""
    kind = value.get("type")
    if kind == "function_call" and "name" in value:
        return [{"role": "assistant", "content": "", "tool_calls": [call_of(value)]}]
    if kind == "function_call_output":
        return pieces_of([value]).results
    if kind == "reasoning":
        return [
            {"role": "assistant", "content": "", "reasoning_content": t}
            for t in pieces_of([value]).thoughts
        ]
    event = value.get("event.name")
    if isinstance(event, str) and event.startswith("gen_ai."):
        if event == "gen_ai.choice":
            return _found(value.get("message"), "assistant", depth)
        return _message({**value, "role": event.split(".")[1]}, role)
    return None


def _of_pydantic(value: Mapping[str, object]) -> list[MessageRow] | None:
    """A request or a response as Pydantic AI keeps it: parts of several speakers."""
    parts = value.get("parts")
    if value.get("kind") not in ("request", "response") or not isinstance(parts, list):
        return None
    made: list[MessageRow] = []
    for part in parts:
        kind = part.get("part_kind") if isinstance(part, dict) else None
        if kind in ("system-prompt", "user-prompt"):
            made += _message({"role": kind.split("-")[0], "content": part.get("content")}, "user")
        elif kind in ("tool-return", "retry-prompt"):
            made += pieces_of([{**part, "type": "tool_result"}]).results
        elif kind == "tool-call":
            made += _message({"role": "assistant", "content": [{**part, "type": kind}]}, "user")
        else:
            made += _message({"role": "assistant", "content": [part]}, "assistant")
    return made


def _of_envelope(value: Mapping[str, object], role: str, depth: int) -> list[MessageRow] | None:
    system = next((value[key] for key in _SYSTEM if value.get(key)), None)
    for key in _ENVELOPES:
        inner = value.get(key)
        if inner is None or inner == "":
            continue
        speaker = "assistant" if key in ("choices", "candidates", "completion") else role
        if isinstance(inner, str):
            # A text under a known key is what was said, unless there is more beside it.
            if len(value) > 1 and key not in ("prompt", "completion"):
                continue
            found: list[MessageRow] | None = _of_text(inner, speaker)
        else:
            found = _found(inner, speaker, depth)
        if found:
            if key == "message" and len(value) > 1:
                # Such as why the model stopped.
                beside = {name: said for name, said in value.items() if name != "message"}
                found[-1] = {**beside, **found[-1]}
            return [*messages_of(system, "system"), *found] if system else found
    return None


def _plain_message(value: object) -> MessageRow | None:
    """What is a message in OpenAI's shape already, and has nothing but words: nearly all are."""
    if not isinstance(value, dict):
        return None
    if len(value) == 1 and isinstance(inner := value.get("message"), dict):
        value = inner
    is_plain = len(value) == 2 and value.get("role") in ("user", "assistant", "system")
    if not is_plain or not isinstance(value.get("content"), str):
        return None
    return {"role": value["role"], "content": value["content"]}


def _message(value: Mapping[str, object], role: str) -> list[MessageRow]:
    """A message as one of ours; results of tools within it are messages before it."""
    content = value.get("content")
    speaker = value.get("role")
    known = role_named(speaker)
    made: MessageRow = {"role": known or role}
    made |= {key: inner for key, inner in value.items() if key not in _OURS}
    if known is None and speaker:
        made.setdefault("name", plain_text(speaker))
    if content is None:
        content = next((value[k] for k in ("parts", "contents") if value.get(k) is not None), None)
    pieces = pieces_of(content if isinstance(content, list) else [content] if content else [])
    results = pieces.results
    calls = [*_calls(value), *pieces.calls]
    call_id = value.get("tool_call_id", value.get("toolCallId"))
    if made["role"] == "tool" and not results and content is not None:
        pieces.content = [_outcome(content)] if not isinstance(content, list) else pieces.content
    made["content"] = pieces.text
    if calls:
        made["tool_calls"] = calls
    if call_id:
        made["tool_call_id"] = plain_text(call_id)
    if pieces.thoughts:
        made["reasoning_content"] = "\n".join(pieces.thoughts)
    is_empty = results and not pieces.content and not calls and not pieces.thoughts
    return results if is_empty else [*results, made]


def _outcome(content: object) -> object:
    return content if isinstance(content, str) else json_text(content)


def _calls(value: Mapping[str, object]) -> list[MessageRow]:
    """The calls that stand beside the content, wherever tools have put them."""
    more = value.get("additional_kwargs")
    for holder in (value, more if isinstance(more, dict) else {}):
        calls = holder.get("tool_calls") or holder.get("toolCalls")
        if isinstance(calls, str):
            calls = json_in(calls)
        if isinstance(calls, list) and calls:
            return [
                call_of(call) if isinstance(call, dict) else call_of({"name": call})
                for call in calls
            ]
        single = holder.get("function_call")
        if isinstance(single, dict):
            return [call_of(single)]
    if value.get("function_call_name"):
        return [
            call_of(
                {
                    "name": value["function_call_name"],
                    "arguments": value.get("function_call_arguments_json"),
                }
            )
        ]
    return []

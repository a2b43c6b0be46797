"""What can be checked of a reply: its form against the tools on offer, its content against another.

A model's reply and a person's in, a fault or an agreement out. The one idea is that only what has
one right form is compared as such: tool calls, JSON, a final answer or a few words. Whether another
text is as good is not for equality to say.
"""

import json
import re
from collections.abc import Mapping, Sequence

from flywheel.models.tool_text import Reply, ToolCall, calls_of, text_of

Message = Mapping[str, object]

_FENCE = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)
# A last line such as "#### 42", "Answer: 42" or "The answer is 42."
_FINAL = re.compile(r"(?:####|\banswer(?:\s+is|:))\s*:?\s*(\S.*)\Z", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[$€£]?\d[\d,]*(?:\.\d+)?%?")
# A reply of so many words is right or wrong as it stands.
_FEW_WORDS = 3
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def fault_in(reply: Reply, tools: Sequence[Message]) -> str:
    """Why an action of the reply cannot be carried out; empty where all can, or there is none.

    A call that cannot be read, a tool that is not on offer (where it is known which are), or
    arguments against its JSON schema: types, required and unknown keys, and enumerations. It is
    said of which kind the fault is, in none of the model's own words: they would stand in verdicts.
    """
    if reply.faults:
        return reply.faults[0]
    offered = {str(function.get("name")): function for function in map(_function, tools)}
    for call in reply.calls:
        if offered and call.name not in offered:
            return "a tool that is not on offer"
        schema = offered.get(call.name, {}).get("parameters")
        if fault := _against(schema, call.arguments):
            return fault
    return ""


def agreement(reply: Reply, expected: Message) -> bool | None:
    """Whether the reply does what a person's message does; None where that cannot be checked.

    Tool calls are the same in any order and with any order of keys; an answer is the same JSON, the
    same final answer or the same few words.
    """
    wanted = calls_of(expected)
    if wanted:
        return _signature(reply.calls) == _signature(wanted)
    answer = _answer_in(text_of(expected))
    if answer is None:
        return None
    return not reply.calls and _answer_in(reply.text) == answer


def _function(tool: Message) -> Message:
    inner = tool.get("function")
    return inner if isinstance(inner, Mapping) else tool


def _signature(calls: Sequence[ToolCall]) -> list[tuple[str, str]]:
    return sorted((call.name, _canonical(call.arguments)) for call in calls)


def _canonical(value: object) -> str:
    return json.dumps(_whole(value), sort_keys=True, ensure_ascii=False, default=str)


def _whole(value: object) -> object:
    """Numbers as JSON means them: 2.0 is 2."""
    if isinstance(value, Mapping):
        return {str(name): _whole(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _answer_in(text: str) -> str | None:
    stripped = text.strip()
    fenced = _FENCE.match(stripped)
    try:
        value = json.loads(fenced[1] if fenced else stripped)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict | list):
        return _canonical(value)
    last_line = stripped.rpartition("\n")[2].strip()
    if final := _FINAL.search(last_line):
        return _as_answer(final[1])
    return _as_answer(stripped) if 0 < len(stripped.split()) <= _FEW_WORDS else None


def _as_answer(text: str) -> str:
    plain = " ".join(text.casefold().strip(" .!*\"'`").split())
    if _NUMBER.fullmatch(plain):
        return _canonical(float(re.sub(r"[$€£,%]", "", plain)))
    return plain


def _against(schema: object, value: object) -> str:
    """What of a value is against its JSON schema, in a few words; empty for nothing."""
    if not isinstance(schema, Mapping):
        return ""
    kinds = schema.get("type")
    allowed = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    if allowed and not any(_is_of(kind, value) for kind in allowed):
        return "an argument of another type"
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        return "an argument that is none of its choices"
    if isinstance(value, dict):
        return _against_keys(schema, value)
    if isinstance(value, list):
        faults = (_against(schema.get("items"), inner) for inner in value)
        return next(filter(None, faults), "")
    return ""


def _against_keys(schema: Message, value: Mapping[str, object]) -> str:
    known, required = schema.get("properties"), schema.get("required")
    properties = known if isinstance(known, Mapping) else {}
    if any(str(name) not in value for name in (required if isinstance(required, list) else ())):
        return "an argument is missing"
    if schema.get("additionalProperties") is False and set(value) - set(properties):
        return "an argument that the tool does not have"
    faults = (_against(properties.get(name), inner) for name, inner in value.items())
    return next(filter(None, faults), "")


def _is_of(kind: object, value: object) -> bool:
    types = _TYPES.get(str(kind))
    if types is None:
        return True
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, types)

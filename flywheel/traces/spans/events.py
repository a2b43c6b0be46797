"""Events of a span: messages as the older conventions send them, errors, and what else happened.

Events in; messages, an error and the events that are neither out. The one idea is that an event is
either understood whole or kept whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flywheel.traces.spans.dialects import Field
from flywheel.traces.spans.json_values import json_in

EVALUATION = "gen_ai.evaluation.result"
_DETAILS = "gen_ai.client.inference.operation.details"
_INPUTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened during a span."""

    name: str
    time_ns: int | None
    attributes: Mapping[str, object]


@dataclass(slots=True)
class Said:
    """What the events of a span say, by the fields of a span, and the events that say none."""

    input: list[object] = field(default_factory=list)
    output: list[object] = field(default_factory=list)
    system: object = None
    error: str | None = None
    others: list[dict[str, object]] = field(default_factory=list)

    @property
    def fields(self) -> dict[Field, object]:
        """What is known, by the name of its field."""
        known: dict[Field, object] = {
            "input": self.input,
            "output": self.output,
            "system": self.system,
            "error": self.error,
        }
        return {name: value for name, value in known.items() if value}


def said_in_events(events: Iterable[Event]) -> Said:
    """Sort the events of one span, in their order."""
    said = Said()
    for event in events:
        role = _INPUTS.get(event.name)
        if role is not None:
            said.input.append(_message(event.attributes, role))
        elif event.name == "gen_ai.choice":
            said.output.append(_choice(event.attributes))
        elif event.name in ("gen_ai.content.prompt", "gen_ai.content.completion", _DETAILS):
            _take_content(event, said)
        elif event.name != EVALUATION:
            if event.name == "exception" and said.error is None:
                said.error = _exception(event.attributes)
            said.others.append(
                {"name": event.name, "time_ns": event.time_ns, **_apart(event.attributes)}
            )
    return said


def _message(attributes: Mapping[str, object], role: str) -> dict[str, object]:
    """A message whose body is spread over the attributes; what was nested came as JSON text."""
    made = {key: _parsed(value) for key, value in attributes.items()}
    for key in ("gen_ai.system", "gen_ai.provider.name"):
        made.pop(key, None)
    call_id = made.pop("id", None)
    if call_id is not None and role == "tool":
        made["tool_call_id"] = call_id
    return {**made, "role": made.get("role") or role, "content": made.get("content")}


def _choice(attributes: Mapping[str, object]) -> dict[str, object]:
    made = {key: _parsed(value) for key, value in attributes.items()}
    message = made.pop("message", None)
    if isinstance(message, str):
        message = {"content": message}
    body = message if isinstance(message, dict) else {}
    return {"content": None, **made, **body, "role": body.get("role") or "assistant"}


def _take_content(event: Event, said: Said) -> None:
    taken = 0
    for key, name in _CONTENT.items():
        value = event.attributes.get(key)
        if value is None:
            continue
        taken += 1
        parsed = _parsed(value)
        if name == "system":
            said.system = parsed
        else:
            into = said.input if name == "input" else said.output
            role = "user" if name == "input" else "assistant"
            words = {"role": role, "content": parsed}
            into += parsed if isinstance(parsed, list) else [words]
    if taken < len(event.attributes):
        others = {key: value for key, value in event.attributes.items() if key not in _CONTENT}
        said.others.append({"name": event.name, "time_ns": event.time_ns, **_apart(others)})


_CONTENT = {
    "gen_ai.system_instructions": "system",
    "gen_ai.input.messages": "input",
    "gen_ai.output.messages": "output",
    "gen_ai.prompt": "input",
    "gen_ai.completion": "output",
}


def _exception(attributes: Mapping[str, object]) -> str | None:
    words = [attributes.get("exception.type"), attributes.get("exception.message")]
    return ": ".join(str(word) for word in words if word) or None


def _apart(attributes: Mapping[str, object]) -> dict[str, object]:
    return {"attributes": dict(attributes)} if attributes else {}


def _parsed(value: object) -> object:
    return json_in(value) if isinstance(value, str) else value

"""What a reviewer may be shown of an item, and what a form must say to become a decision.

Items of the queue in, views of them out; what somebody sent in, a `Decision` out. Pages and the
HTTP API share this, so that what one hides the other hides, and what one refuses the other refuses.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from itertools import count, takewhile
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from flywheel.errors import BadInput
from flywheel.judge.rubric import load_rubric
from flywheel.queue import Claim, Item, ItemMetric, why_here
from flywheel.records import ONLY_WITH_ERROR, Decision, ItemStatus, QueueReason, ReasonCode
from flywheel.review import keep_rubric, votes_on
from flywheel.safety import encodable
from flywheel.store.ledger import now
from flywheel.traces.documents import Message, ToolCall, open_document
from flywheel.web.access import Actor
from flywheel.web.context import Web

# While one of these is its status, somebody may still decide on an item: who declined it can take
# that back.
_OPEN: frozenset[str] = frozenset({"pending", "disputed", "declined"})


@dataclass(frozen=True, slots=True)
class VisibleItem:
    """An item as one reviewer may see it; `is_hidden` where the judge's word was taken out.

    Hidden are the judge's verdict and its reason, the metrics, and all that tells how the item was
    drawn: they are None, and `metrics` is empty. `evidence_turn` stays, since every verdict names
    a message, whatever it says.
    """

    item_id: int
    queue: str
    trace_id: str
    content_hash: str
    app: str
    day: date
    status: ItemStatus
    assigned_to: str | None
    reviewers_needed: int
    queued_at: datetime
    is_blind: bool
    opening: str
    n_messages: int
    n_decided: int
    claims: tuple[Claim, ...]
    similar: tuple[tuple[str, float], ...]
    reason: QueueReason | None
    priority: float | None
    draw_probability: float | None
    audit_probability: float | None
    probability: float | None
    judge_version: str | None
    judge_reason: str | None
    judge_reason_code: str | None
    evidence_turn: int | None
    metrics: tuple[ItemMetric, ...]
    why: tuple[str, ...]
    has_decided: bool
    is_hidden: bool


_OF_ITEM = [field.name for field in fields(VisibleItem) if field.name in Item.__dataclass_fields__]
_HIDDEN: Mapping[str, object] = dict.fromkeys(
    (
        *("reason", "priority", "draw_probability", "audit_probability", "probability"),
        *("judge_version", "judge_reason", "judge_reason_code"),
    )
) | {"metrics": ()}


def visible_item(web: Web, item: Item, actor: Actor) -> VisibleItem:
    """The item as `actor` may see it: in a blind queue without the judge's word until the decision.

    When nobody can decide on it any more there is nothing left to hide.
    """
    # Who counts nobody need not ask who it was.
    votes = votes_on(web.stores.ledger, item.trace_id, item.content_hash) if item.n_decided else []
    has_decided = any(vote.decision.reviewer == actor.name for vote in votes)
    is_hidden = item.is_blind and not has_decided and item.status in _OPEN
    shown: dict[str, object] = {name: getattr(item, name) for name in _OF_ITEM}
    if is_hidden:
        shown |= _HIDDEN
    why = why_here(item if is_hidden else replace(item, is_blind=False))
    return VisibleItem(**shown, why=tuple(why), has_decided=has_decided, is_hidden=is_hidden)  # type: ignore[arg-type]


def visible_items(web: Web, items: Iterable[Item], actor: Actor) -> list[VisibleItem]:
    """The items as `actor` may see them, in the order given."""
    return [visible_item(web, item, actor) for item in items]


def _without_nul(text: str) -> str:
    # Postgres has no text with a NUL in it.
    return text.replace("\0", "\ufffd")


_Text = Annotated[str, AfterValidator(_without_nul)]
_Position = Annotated[int, Field(ge=0, lt=2**31)]


class DecisionForm(BaseModel):
    """What a reviewer says of an item, as a page or a program sends it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    perceived_error: bool = Field(description="Whether the user saw the assistant make an error.")
    reason_code: ReasonCode = Field(
        "none", description="What the user's reaction was; the first six only go with an error."
    )
    reason: _Text = Field("", description="Why, in the reviewer's words.")
    evidence_turn: _Position | None = Field(
        None, description="Position of the message that shows it, counted from 0."
    )
    corrected_turn: _Position | None = Field(
        None, description="Position of the assistant message that is corrected."
    )
    corrected_text: _Text | None = Field(None, description="The better text of that message.")
    corrected_tool_calls: _Text | None = Field(
        None,
        description="The better tool calls of that message, in place of all of its own: a JSON list"
        ' in OpenAI\'s shape, [{"id", "type": "function", "function": {"name", "arguments"}}].',
    )
    seconds: Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)] | None = Field(
        None, description="How long the reviewer looked at the item."
    )


def decision_form(fields: Mapping[str, object]) -> DecisionForm:
    """The form of a page: an empty field says nothing, and fields of another name are left alone.

    Tool calls come as one JSON list in `corrected_tool_calls`, or as numbered fields from 0:
    `call_id_0`, `call_name_0`, `call_arguments_0`; a call without a name is left out.

    Raises BadInput.
    """
    said = {
        name: value
        for name in DecisionForm.model_fields
        if isinstance(value := fields.get(name), str)
        and (value.strip() or (name == "corrected_text" and fields.get("corrected_turn")))
    }
    if "call_name_0" in fields and "corrected_turn" in said:
        said["corrected_tool_calls"] = _numbered_calls(fields)
    try:
        # A browser ends the lines of a text field with CR LF.
        return DecisionForm.model_validate(
            {name: value.replace("\r\n", "\n") for name, value in said.items()}
        )
    except ValidationError as error:
        raise BadInput(first_fault(error)) from error


def first_fault(error: ValidationError) -> str:
    """What is wrong with the first field that cannot be used, in one sentence."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def checked_decision(web: Web, item: Item, actor: Actor, form: DecisionForm) -> Decision:
    """The form as a decision of `actor` on the item, by the rubric of this moment.

    A correction that changes nothing is none. Raises BadInput where the form contradicts itself or
    speaks of a message that is not there, or corrects one that is not the assistant's; NotFound
    where it corrects a trace that has no document.
    """
    if not form.perceived_error and form.reason_code in ONLY_WITH_ERROR:
        raise BadInput(
            f"reason_code {form.reason_code!r} is one of an error, and perceived_error is false"
        )
    if form.evidence_turn is not None and form.evidence_turn >= item.n_messages:
        raise BadInput(f"evidence_turn {form.evidence_turn} is after the last message of the trace")
    corrected_turn, corrected_text, corrected_tool_calls = _correction(web, item, form)
    rubric = load_rubric(web.project.metrics_dir)
    if rubric.version not in web.kept_rubrics:
        keep_rubric(web.stores.ledger, rubric)
        web.kept_rubrics.add(rubric.version)
    return Decision(
        trace_id=item.trace_id,
        content_hash=item.content_hash,
        reviewer=actor.name,
        perceived_error=form.perceived_error,
        reason_code=form.reason_code,
        reason=form.reason.strip(),
        decided_at=now(),
        evidence_turn=form.evidence_turn,
        rubric_version=rubric.version,
        seconds=form.seconds,
        corrected_turn=corrected_turn,
        corrected_text=corrected_text,
        corrected_tool_calls=corrected_tool_calls,
    )


def _correction(
    web: Web, item: Item, form: DecisionForm
) -> tuple[int | None, str | None, str | None]:
    turn, text = form.corrected_turn, form.corrected_text
    if turn is None:
        if text is not None or form.corrected_tool_calls is not None:
            raise BadInput("a correction needs corrected_turn, the message that it corrects")
        return None, None, None
    if text is None and form.corrected_tool_calls is None:
        raise BadInput("corrected_turn needs corrected_text, corrected_tool_calls, or both")
    message = _assistant_message(web, item, turn)
    calls = form.corrected_tool_calls
    if calls is not None:
        calls = checked_tool_calls(calls, message.tool_calls)
    # A text field gives other line ends than it was given.
    if text is not None and text == message.content.replace("\r\n", "\n"):
        text = None
    if text is None and calls is None:
        return None, None, None
    is_silent = not (message.content if text is None else text).strip()
    if is_silent and (calls == "[]" if calls is not None else not message.tool_calls):
        raise BadInput("a corrected message needs a text or a tool call; write what would be right")
    return turn, text, calls


def _assistant_message(web: Web, item: Item, turn: int) -> Message:
    document = open_document(web.stores, item.trace_id, item.content_hash)
    if turn >= document.header.n_messages:
        raise BadInput(f"corrected_turn {turn} is after the last message of the trace")
    message = document.message(turn)
    if message.role != "assistant":
        raise BadInput(
            f"corrected_turn {turn} is a message of {message.role!r}; it must be the assistant's"
        )
    return message


class _Function(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Annotated[_Text, Field(min_length=1)]
    arguments: str | dict[str, object] = "{}"


class _Call(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: _Text | None = None
    type: Literal["function"] = "function"
    function: _Function


def checked_tool_calls(text: str, original: tuple[ToolCall, ...]) -> str | None:
    """Tool calls as JSON in OpenAI's shape; None where they are those of the original message.

    Arguments may be an object or its JSON text. A call without an id takes that of the original
    call in its place. Raises BadInput on anything else, and on arguments that are no JSON object.
    """
    said = _read_json(text, "corrected_tool_calls is")
    if not isinstance(said, list):
        raise BadInput("corrected_tool_calls must be a JSON list of tool calls")
    calls = [
        _checked_call(number, call, original[number] if number < len(original) else None)
        for number, call in enumerate(said)
    ]
    if tuple(calls) == original:
        return None
    for number, call in enumerate(calls):
        if call not in original:
            _require_object(number, call.arguments)
    return json.dumps([_in_openai_shape(call) for call in calls], ensure_ascii=False)


def _checked_call(number: int, said: object, original: ToolCall | None) -> ToolCall:
    try:
        call = _Call.model_validate(said)
    except ValidationError as error:
        raise BadInput(f"corrected_tool_calls: call {number + 1}: {first_fault(error)}") from error
    arguments = call.function.arguments
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    call_id = call.id or (original.call_id if original else "") or f"call_{number + 1}"
    checked = ToolCall(call_id, call.function.name, encodable(arguments))
    # A page shows arguments indented: the same JSON in other spacing is no correction.
    is_same = original is not None and _meaning(checked) == _meaning(original)
    return original if original is not None and is_same else checked


def _meaning(call: ToolCall) -> tuple[str, str, str]:
    try:
        arguments = json.dumps(json.loads(call.arguments), sort_keys=True)
    except (ValueError, RecursionError):
        arguments = call.arguments.replace("\r\n", "\n")
    return call.call_id, call.name, arguments


def _require_object(number: int, arguments: str) -> None:
    where = f"corrected_tool_calls: call {number + 1}: the arguments are"
    if not isinstance(_read_json(arguments, where), dict):
        raise BadInput(f"{where} no JSON object")


def _read_json(text: str, what: str) -> object:
    try:
        said: object = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{what} not JSON: {error}") from error
    return said


def _refuse_constant(name: str) -> None:
    # Python reads and writes them, and nobody else does.
    raise ValueError(f"{name} is no value")


def _in_openai_shape(call: ToolCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def _numbered_calls(fields: Mapping[str, object]) -> str:
    numbers = takewhile(lambda number: f"call_name_{number}" in fields, count())
    calls: list[dict[str, object]] = []
    for number in numbers:
        call_id, name, arguments = (
            str(fields.get(f"call_{part}_{number}") or "").strip()
            for part in ("id", "name", "arguments")
        )
        if name:
            function = {"name": name, "arguments": arguments or "{}"}
            calls.append({"id": call_id or None, "function": function})
    return json.dumps(calls)

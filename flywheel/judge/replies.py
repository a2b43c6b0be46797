"""A generative judge's reply, checked: text from a model in, a label with its code and reason out.

The one idea is that a reply either is the JSON object that was asked for or is counted as one that
could not be read; no label is guessed from prose.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr, ValidationError, create_model

from flywheel.errors import BadInput
from flywheel.models.chat import ReplyShape
from flywheel.safety import quote, visible

_FENCE = re.compile(r"\A```(?:json)?\s*(\{.*\})\s*```\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said of one conversation; `code` is None where its shape has none."""

    label: bool
    code: str | None
    reason: str


def read_reply(text: str, shape: ReplyShape) -> Reply:
    """The reply in `text`; white space and a code fence around it are overlooked.

    Raises BadInput with the reason where it is not of this shape. A reason that is too long is cut.
    """
    stripped = text.strip()
    fenced = _FENCE.match(stripped)
    try:
        reply = _model_of(shape).model_validate_json(fenced[1] if fenced else stripped)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise BadInput(f"{what}, in the reply {quote(text, 80)}") from error
    values = reply.model_dump()
    code, label = values.get("reason_code"), bool(values[shape.label])
    if code is not None and code not in shape.codes:
        raise BadInput(f"reason_code: {quote(code, 40)} is none of {', '.join(shape.codes)}")
    reason = " ".join(visible(values["reason"]).split())
    if len(reason) > shape.max_reason_chars:
        reason = reason[: shape.max_reason_chars - 1].rstrip() + "…"
    return Reply(label, code, reason)


@cache
def _model_of(shape: ReplyShape) -> type[BaseModel]:
    """The keys that a reply has, no fewer and no more."""
    fields: dict[str, Any] = {shape.label: (StrictBool, ...), "reason": (StrictStr, ...)}
    if shape.codes:
        fields["reason_code"] = (StrictStr, ...)
    made: type[BaseModel] = create_model(
        "ModelReply", __config__=ConfigDict(extra="forbid"), **fields
    )
    return made

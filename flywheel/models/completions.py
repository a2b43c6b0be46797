"""What a server's reply says: the body of a chat completion in, its text and P(true) out.

The body is checked, since it comes from outside. The one idea is that the label's token is found
in the tokens themselves: their bytes are joined, the label's value is looked for in them, and the
token under its first letter is the one whose alternatives are weighed.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flywheel.errors import BadInput

# What a token carries before the label's first letter, such as in ` true` and `":true`.
_BEFORE_VALUE = b' \t\r\n":'


class _Part(BaseModel):
    # Servers add what they like; what is read here has its type.
    model_config = ConfigDict(extra="ignore")


class _Alternative(_Part):
    token: str
    bytes: list[int] | None = None
    logprob: float


class _Token(_Alternative):
    top_logprobs: list[_Alternative] | None = None


class _Logprobs(_Part):
    content: list[_Token] | None = None


class _Message(_Part):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Part):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(_Part):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(0, ge=0)


class _Body(_Part):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply; `usage` are tokens of the prompt and the reply, None where the server is silent.

    `refusal` is why the model, or a filter before it, would not answer; empty where it did.
    """

    text: str
    refusal: str
    is_cut: bool
    label_probability: float | None
    usage: tuple[int, int] | None


def read_completion(body: str, label: str) -> Completion:
    """The first choice of the body of a chat completion.

    Raises BadInput where it is none.
    """
    try:
        read = _Body.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise BadInput(f"{where} is no part of a chat completion: {first['msg']}") from error
    choice = read.choices[0]
    refusal = choice.message.refusal or ""
    if choice.finish_reason == "content_filter":
        refusal = refusal or "the server's filter withheld the reply"
    tokens = choice.logprobs.content if choice.logprobs else None
    usage = (read.usage.prompt_tokens, read.usage.completion_tokens) if read.usage else None
    return Completion(
        choice.message.content or "",
        refusal,
        choice.finish_reason == "length",
        _label_probability(tokens or [], label),
        usage,
    )


def label_in(text: str, label: str) -> bool | None:
    """The label in a reply, as a vote: None where it has none.

    The first one counts: a label comes before its reason, and the reason may quote what it likes.
    """
    found = _value_pattern(label).search(text.encode("utf-8", "replace"))
    return None if found is None else found["value"].lower() == b"true"


def is_whole(text: str) -> bool:
    """Whether a JSON object stands in the text, from its first brace to the one that closes it."""
    start = text.find("{")
    if start < 0:
        return False
    try:
        json.JSONDecoder(strict=False).raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError):
        return False
    return True


def _label_probability(tokens: Sequence[_Token], label: str) -> float | None:
    """P(true) against P(false) at the label's token; None where that is not to be had."""
    if not label:
        return None
    found = _value_pattern(label).search(b"".join(_bytes_of(token) for token in tokens))
    if found is None:
        return None
    end = 0
    for token in tokens:
        end += len(_bytes_of(token))
        if end > found.start("value"):
            return _weigh([token, *(token.top_logprobs or [])])
    return None


def _weigh(alternatives: Sequence[_Alternative]) -> float | None:
    """The share of what begins `true` among what begins `true` or `false`.

    A side that the server does not list has less than the least of those that it lists, and no more
    than what they leave.
    """
    # The token that was chosen is often among the alternatives too.
    listed = {_bytes_of(one): math.exp(min(0.0, one.logprob)) for one in alternatives}
    mass = {b"true": 0.0, b"false": 0.0}
    for token, probability in listed.items():
        value = token.lstrip(_BEFORE_VALUE).lower()
        for side in mass:
            if value and (value.startswith(side) or side.startswith(value)):
                mass[side] += probability
    rest = max(0.0, min(1.0 - sum(listed.values()), *listed.values()))
    true, false = (found or rest for found in mass.values())
    return true / (true + false) if true + false > 0 else None


def _bytes_of(token: _Alternative) -> bytes:
    """A token's own bytes: a character may be split among tokens, and their texts lose it then."""
    if token.bytes is not None and all(0 <= byte < 256 for byte in token.bytes):
        return bytes(token.bytes)
    return token.token.encode("utf-8", "replace")


def _value_pattern(label: str) -> re.Pattern[bytes]:
    name = re.escape(label.encode())
    return re.compile(
        rb"[\"']?" + name + rb"[\"']?\s*:\s*[\"']?(?P<value>true|false)\b", re.IGNORECASE
    )

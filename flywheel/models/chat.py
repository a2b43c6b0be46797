"""Chat models as a judge needs them: prompts in, one checked-for JSON reply each out.

Two stand behind the one `ChatModel`: a causal model in this process (`causal`), and a server that
speaks OpenAI's API (`endpoint`). The one idea is that an answer is handed over the moment it is
there, so that whoever asked can store it before the next.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from flywheel.records import ERROR_CODES, ONLY_WITH_ERROR, REASON_CODES

# Why there is no reply that can be used; counted under these names.
Failure = Literal["", "refused", "failed", "too_long", "budget"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ReplyShape:
    """The JSON object that a reply is: a label of yes or no first, then a code, then a reason.

    `codes` are those allowed, and the key is left out where there are none.
    """

    label: str
    codes: tuple[str, ...] = ()
    max_reason_chars: int = 300

    def codes_with(self, label: bool) -> tuple[str, ...]:
        """Those of the codes that can stand beside this label."""
        if set(self.codes) != set(REASON_CODES):
            return self.codes
        return tuple(
            code
            for code in self.codes
            if (code in ERROR_CODES if label else code not in ONLY_WITH_ERROR)
        )

    def json_schema(self) -> dict[str, Any]:
        """As JSON Schema, in the order in which a model writes the keys."""
        properties: dict[str, Any] = {self.label: {"type": "boolean"}}
        if self.codes:
            properties["reason_code"] = {"type": "string", "enum": list(self.codes)}
        properties["reason"] = {"type": "string", "maxLength": self.max_reason_chars}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }


@dataclass(frozen=True, slots=True)
class JsonShape:
    """Any JSON object, by its schema; there is no label in it, and so no probability."""

    schema: Mapping[str, Any]
    label: str = ""

    def json_schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return dict(self.schema)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked; `key` is the hash of what it is asked, for the records of calls.

    Prompts of one judge share their first message, so that it need not be read again each time.
    """

    key: str
    messages: tuple[Message, ...]
    shape: ReplyShape | JsonShape


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model replied, or why it did not.

    `label_probability` is that of `true` against `false` at the label's token, or the share of
    votes; None where the model gives neither. Costs are of all attempts, the failed ones too.
    """

    text: str
    label_probability: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    latency_ms: float = 0.0
    failure: Failure = ""
    why: str = ""


class ChatModel(Protocol):
    """What answers prompts."""

    @property
    def name(self) -> str:
        """Its name among `[judges.NAME]`."""

    @property
    def version(self) -> str:
        """Names the weights, the adapter and how a reply is read."""

    def answers(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer]]:
        """The index of a prompt and its answer, each as soon as it is there, in any order."""

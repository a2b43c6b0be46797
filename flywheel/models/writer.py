"""A model that writes what a program asks for: proposals, names, questions, each a checked object.

A request and the shape of its answer in, that object out. The one idea is that a model behind an
OpenAI-compatible server is asked as a judge is, under the same budget and the same records of
calls, and that what it writes is checked before anybody sees it; what fails the check goes back to
it once, with the fault.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flywheel.errors import BadSetting, NotFound, TryAgain
from flywheel.models.chat import Answer, JsonShape, Message, Prompt
from flywheel.models.endpoint import Endpoint
from flywheel.safety import quote
from flywheel.settings import Settings
from flywheel.store.ledger import Ledger

Form = TypeVar("Form", bound=BaseModel)
# What a model is told of its own faults.
_MOST_FAULTS = 5
_QUOTED_CHARACTERS = 200


class NotWritten(TryAgain):
    """The model gave no answer that can be used; the text says why.

    `is_its_own_fault` where it did answer, or was asked more than it can read: a server that fails
    and a budget that is spent are not.
    """

    def __init__(self, said: str, is_its_own_fault: bool = True):
        super().__init__(said)
        self.is_its_own_fault = is_its_own_fault


class Writer:
    """An endpoint of `[judges.NAME]`, asked for objects."""

    def __init__(self, endpoint: Endpoint):
        self._endpoint = endpoint
        self.name = endpoint.name
        self.version = endpoint.version

    def write(self, messages: Sequence[Message], form: type[Form], tries: int = 2) -> Form:
        """What the model writes, as a `form`; a faulty answer is sent back with its faults.

        Raises NotWritten where no answer came, or each of `tries` was faulty.
        """
        (done,) = self.write_all([messages], form, tries)
        if isinstance(done, NotWritten):
            raise done
        return done

    def write_all(
        self, asked: Sequence[Sequence[Message]], form: type[Form], tries: int = 2
    ) -> list[Form | NotWritten]:
        """The same for each of many, several at once, in their order; what failed is not raised."""
        ends: dict[int, Form | NotWritten] = {}
        left = {index: list(messages) for index, messages in enumerate(asked)}
        for _ in range(tries):
            again: dict[int, list[Message]] = {}
            for index, answer in self._answers(left, form):
                if answer.failure:
                    ends[index] = NotWritten(
                        f"{self.name} gave no answer: {answer.why or answer.failure}",
                        is_its_own_fault=answer.failure not in ("failed", "budget"),
                    )
                    continue
                try:
                    ends[index] = form.model_validate_json(object_in(answer.text))
                except ValidationError as error:
                    why = faults_of(error)
                    said = f"{self.name} wrote no {form.__name__} in {tries} tries: {why}"
                    ends[index] = NotWritten(said)
                    told = f"This is not what was asked for: {why}. Write the whole object again."
                    more = [Message("assistant", answer.text), Message("user", told)]
                    again[index] = [*left[index], *more]
            left = again
        return [ends[index] for index in range(len(asked))]

    def _answers(
        self, asked: Mapping[int, Sequence[Message]], form: type[BaseModel]
    ) -> Iterator[tuple[int, Answer]]:
        if not asked:
            return
        shape, indices, prompts = JsonShape(strict_schema(form)), list(asked), []
        for messages in asked.values():
            text = json.dumps([[m.role, m.content] for m in messages], ensure_ascii=False)
            key = hashlib.sha256(text.encode()).hexdigest()
            prompts.append(Prompt(key, tuple(messages), shape))
        for at, answer in self._endpoint.answers(prompts):
            yield indices[at], answer


def writer_of(settings: Settings, ledger: Ledger) -> Writer:
    """The model that `evolution.model` names.

    Raises BadSetting where it names none, or a model that is no endpoint.
    """
    return Writer(endpoint_of(settings, ledger))


def endpoint_of(settings: Settings, ledger: Ledger, name: str = "") -> Endpoint:
    """The endpoint `[judges.NAME]`, that of `evolution.model` without a name, to be asked for JSON.

    Raises BadSetting where it names none, or a model that is no endpoint.
    """
    wanted, name = settings.evolution, name or settings.evolution.model
    if not name:
        raise BadSetting(
            "evolution.model names no model; write the NAME of an endpoint under [judges.NAME]"
        )
    if name not in settings.judges:
        raise NotFound("table [judges.NAME] for evolution.model", name, list(settings.judges))
    judge = settings.judges[name]
    if judge.kind != "endpoint":
        raise BadSetting(
            f"evolution.model names [judges.{name}], which is a model in this process; proposals "
            'are written by one with kind = "endpoint"'
        )
    changes = {
        **{"logprobs": False, "votes": 1, "adapter": ""},
        **{"max_reply_tokens": wanted.max_reply_tokens, "context_tokens": wanted.context_tokens},
    }
    return Endpoint(name, judge.model_copy(update=changes), ledger)


def strict_schema(form: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a form as servers want it: every key required, none besides."""
    return dict(_strict(form.model_json_schema()))


def _strict(part: Any) -> Any:  # noqa: ANN401  # a JSON Schema is any JSON
    if isinstance(part, list):
        return [_strict(one) for one in part]
    if not isinstance(part, dict):
        return part
    kept = {key: _strict(value) for key, value in part.items() if key != "default"}
    if isinstance(part.get("properties"), dict):
        kept |= {"required": list(part["properties"]), "additionalProperties": False}
    return kept


def object_in(text: str) -> str:
    """The first JSON object in a text, as text; a model may write words around it."""
    start = text.find("{")
    if start < 0:
        return text
    try:
        _, end = json.JSONDecoder(strict=False).raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError):
        return text
    return text[start:end]


def faults_of(error: ValidationError) -> str:
    """What is wrong with an object, in one line."""
    found = [
        f"{'.'.join(map(str, fault['loc'])) or 'the answer'}: {fault['msg']}"
        for fault in error.errors()[:_MOST_FAULTS]
    ]
    return quote("; ".join(found), _QUOTED_CHARACTERS)

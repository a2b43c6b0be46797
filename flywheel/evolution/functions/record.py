"""What a function is: one record, named by the hash of what it says.

What a model wrote or a person edited in, a record out, and its text, which a proposal shows line by
line. The one idea is that a record never changes: a function with another test is another version.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from flywheel.errors import BadInput
from flywheel.models.writer import faults_of

# Of each; a function that is longer does more than one thing.
MAX_CODE = 20_000
MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class FunctionTest:
    """A call and what it has to return."""

    arguments: Mapping[str, JsonValue]
    returns: JsonValue


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """A function that an agent may call.

    `parameters` is the JSON Schema of its arguments, an object; `requirements` are packages, each
    pinned as `name==version`; `traces` are the ids of those it was made from.
    """

    name: str
    description: str
    parameters: Mapping[str, JsonValue]
    code: str
    requirements: tuple[str, ...] = ()
    tests: tuple[FunctionTest, ...] = ()
    traces: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """SHA-256 of all but the traces, which may be forgotten, in hex."""
        fields = {name: value for name, value in _fields(self).items() if name != "traces"}
        whole = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()

    @property
    def text(self) -> str:
        """As JSON that `read_record` reads, the code line by line, so that a difference shows."""
        return json.dumps(_fields(self), indent=2, ensure_ascii=False) + "\n"


def read_record(text: str) -> FunctionRecord:
    """The record of a text; raises BadInput where it is none, or one of its parts is too long."""
    try:
        form = _Form.model_validate_json(text)
    except ValidationError as error:
        raise BadInput(f"this is no record of a function: {faults_of(error)}") from error
    return FunctionRecord(
        name=form.name,
        description=form.description,
        parameters=form.parameters,
        code=form.code if isinstance(form.code, str) else "\n".join(form.code) + "\n",
        requirements=tuple(form.requirements),
        tests=tuple(FunctionTest(test.arguments, test.returns) for test in form.tests),
        traces=tuple(form.traces),
    )


class _TestForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    arguments: dict[str, JsonValue]
    returns: JsonValue


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=MAX_NAME)
    description: str = Field(max_length=2_000)
    parameters: dict[str, JsonValue]
    code: str | list[str]
    requirements: Sequence[str] = ()
    tests: list[_TestForm] = []
    traces: Sequence[str] = ()


def _fields(record: FunctionRecord) -> dict[str, object]:
    return {
        "name": record.name,
        "description": record.description,
        "parameters": record.parameters,
        "code": record.code.removesuffix("\n").split("\n"),
        "requirements": record.requirements,
        "tests": [{"arguments": test.arguments, "returns": test.returns} for test in record.tests],
        "traces": record.traces,
    }

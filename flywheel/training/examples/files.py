"""A file of examples for the command line: JSON lines of messages and how good they are.

A file in, examples for training and for validation out; a line that cannot be used is named, and
never stops the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flywheel.errors import BadInput
from flywheel.records import Split, unit_hash
from flywheel.training.examples.example import ChatExample, Source

# Of lines that name no split: sessions that are validated on.
_VALIDATION_SHARE = 0.15


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")
    messages: Annotated[list[dict[str, Any]], Field(min_length=2)]
    n_context: int | None = None
    grade: Annotated[float, Field(ge=0, le=1)] | None = None
    source: Source = "accepted"
    generator: str = ""
    app: str = ""
    session_id: str = ""
    pair_id: str = ""
    split: Split | None = None
    tools: list[dict[str, Any]] = []


@dataclass(frozen=True, slots=True)
class ExampleFile:
    """What is trained on, what is validated on, and what could not be used, a sentence each."""

    train: list[ChatExample]
    validation: list[ChatExample]
    rejected: list[str]


def read_examples(path: Path) -> ExampleFile:
    """The examples of a JSON lines file; those of the holdout and of calibration are left out.

    Without `n_context` the context ends with the last user's turn; without `split` it is by a hash
    of the session. Raises BadInput where the file does not exist or no line of it can be used.
    """
    if not path.is_file():
        raise BadInput(f"{path} is no file; expected JSON lines with messages and a grade")
    found = ExampleFile([], [], [])
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            example = _example(_Line.model_validate_json(line), number)
        except (ValidationError, BadInput) as error:
            found.rejected.append(f"{path}:{number}: {_first_fault(error)}")
            continue
        (found.validation if example.split == "validation" else found.train).append(example)
    if not found.train:
        first = found.rejected[0] if found.rejected else "it is empty"
        raise BadInput(f"{path} has no example to train on: {first}")
    return found


def _example(line: _Line, number: int) -> ChatExample:
    roles = [message.get("role") for message in line.messages]
    users = [i for i, role in enumerate(roles) if role == "user"]
    n_context = line.n_context if line.n_context is not None else users[-1] + 1 if users else 0
    if not 0 < n_context < len(roles) or roles[n_context - 1] != "user":
        raise BadInput("the context must end with a user's turn, and an answer must follow")
    if "assistant" not in roles[n_context:]:
        raise BadInput("no turn of the assistant's follows the context")
    group = line.session_id or f"line {number}"
    if line.split in ("holdout", "calibration"):
        raise BadInput(f"it is of the split {line.split}, which is not trained on")
    is_check = unit_hash(f"session:{group}", "examples") < _VALIDATION_SHARE
    messages: tuple[Mapping[str, object], ...] = tuple(line.messages)
    return ChatExample(
        example_id=f"line-{number}",
        messages=messages,
        n_context=n_context,
        grade=line.grade,
        source=line.source,
        generator=line.generator,
        app=line.app,
        group=group,
        split=line.split or ("validation" if is_check else "train"),
        decision_ids=(),
        pair_id=line.pair_id,
        tools=tuple(line.tools),
    )


def _first_fault(error: ValidationError | BadInput) -> str:
    if isinstance(error, BadInput):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'the line'}: {first['msg']}"

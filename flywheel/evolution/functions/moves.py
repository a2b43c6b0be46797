"""What the optimiser may do to a set of functions in one step: add, revise, remove; or end.

What a model wrote in, another set out. The one idea is that a set is a new mapping each time: the
one that was measured is never changed, so that rolling back is keeping it.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError, model_validator

from flywheel.errors import BadInput
from flywheel.evolution.functions.record import FunctionRecord, FunctionTest
from flywheel.evolution.functions.runner import FunctionSet, JsonText
from flywheel.models.writer import faults_of

# Of one step (2402.11359).
MOST_ACTIONS = 3
# That a record names, of those whose tasks failed.
_MOST_TRACES = 20
_OBJECT = TypeAdapter(dict[str, JsonValue])
_VALUE: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


class WrittenTest(BaseModel):
    """A test of a function: arguments and what it returns, each as JSON in a string."""

    arguments: JsonText
    returns: JsonText


class Action(BaseModel):
    """One change of the set; `parameters` is a JSON Schema in a string."""

    do: Literal["add_function", "revise_function", "remove_function"]
    name: str
    description: str = ""
    parameters: JsonText = ""
    code: str = ""
    tests: list[WrittenTest] = []

    @property
    def said(self) -> str:
        """As `add NAME`."""
        return f"{self.do.removesuffix('_function')} {self.name}"


class Moves(BaseModel):
    """A step of the optimiser: its actions, or the end."""

    why: str = ""
    terminate: bool
    actions: list[Action] = []

    @model_validator(mode="after")
    def _is_a_step(self) -> "Moves":
        if len(self.actions) > MOST_ACTIONS:
            raise ValueError(f"{len(self.actions)} actions; {MOST_ACTIONS} are the most")
        if not self.terminate and not self.actions:
            raise ValueError("a step has an action, or terminate is true")
        return self


def changed(functions: FunctionSet, moves: Moves, traces: Sequence[str]) -> FunctionSet:
    """The set after these actions; what they were made on is untouched.

    Raises BadInput where an action cannot be carried out on this set.
    """
    made = dict(functions)
    names = [action.name for action in moves.actions]
    if len(set(names)) < len(names):
        raise BadInput("two actions of one step are on the same function")
    for action in moves.actions:
        if action.do == "add_function" and action.name in functions:
            raise BadInput(f"there is a function {action.name!r} already; revise it")
        if action.do != "add_function" and action.name not in functions:
            known = ", ".join(functions) or "none"
            raise BadInput(f"there is no function {action.name!r}; there are: {known}")
        if action.do == "remove_function":
            del made[action.name]
        else:
            made[action.name] = _record(action, traces)
    return made


def key_of(functions: FunctionSet) -> str:
    """The same for the same functions, whatever their order."""
    named = "\n".join(sorted(one.version for one in functions.values()))
    return hashlib.sha256(named.encode()).hexdigest()


def _record(action: Action, traces: Sequence[str]) -> FunctionRecord:
    try:
        return FunctionRecord(
            name=action.name,
            description=action.description,
            parameters=_OBJECT.validate_json(action.parameters),
            # As its text is read again.
            code="".join(f"{line}\n" for line in action.code.splitlines()),
            tests=tuple(
                FunctionTest(_OBJECT.validate_json(test.arguments), _value_of(test.returns))
                for test in action.tests
            ),
            traces=tuple(traces[:_MOST_TRACES]),
        )
    except ValidationError as error:
        raise BadInput(f"{action.said}: what should be JSON is none: {faults_of(error)}") from error


def _value_of(text: str) -> JsonValue:
    """The value of a text; what is no JSON is itself a string."""
    try:
        return _VALUE.validate_json(text)
    except ValidationError:
        return text

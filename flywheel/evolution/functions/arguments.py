"""The JSON Schema of a function's arguments: which part of it is known, and whether a call fits.

A schema and arguments in, faults as sentences out. The one idea is a small part of the standard,
the one that servers with strict tools know: what is left out (`pattern`, `$ref`, `format`) would
have text of a model run as an expression or fetched as an address.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from flywheel.errors import BadInput
from flywheel.models.writer import faults_of
from flywheel.safety import quote

Type = Literal["object", "array", "string", "number", "integer", "boolean", "null"]
_PYTHON: dict[Type, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_MAX_DEPTH = 8


class Shape(BaseModel):
    """One level of a schema."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Type | list[Type]
    title: str = ""
    description: str = ""
    enum: list[JsonValue] | None = None
    default: JsonValue = None
    properties: "dict[str, Shape]" = {}
    required: list[str] = []
    additionalProperties: bool = True  # the standard's name
    items: "Shape | None" = None
    minItems: int = Field(0, ge=0)
    maxItems: int | None = None
    minLength: int = Field(0, ge=0)
    maxLength: int | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def types(self) -> list[Type]:
        """The types that a value may have."""
        return [self.type] if isinstance(self.type, str) else self.type


def read_schema(parameters: Mapping[str, JsonValue]) -> Shape:
    """The schema of a function's arguments; raises BadInput, with what is wrong with it."""
    try:
        shape = Shape.model_validate(parameters)
    except (ValidationError, RecursionError) as error:
        said = faults_of(error) if isinstance(error, ValidationError) else "it is too deep"
        raise BadInput(
            f"the schema of the arguments is not in the part that is known: {said}"
        ) from None
    if shape.types != ["object"]:
        raise BadInput("the schema of the arguments is of an object; its `type` is `object`")
    unknown = [name for name in shape.required if name not in shape.properties]
    if unknown:
        raise BadInput(f"`required` names {quote(unknown[0])}, which is no property")
    wrong = [name for name in shape.properties if not name.isidentifier() or len(name) > 64]
    if wrong:
        raise BadInput(f"the argument {quote(wrong[0])} has no name that Python takes")
    if _depth(shape) > _MAX_DEPTH:
        raise BadInput(f"the schema of the arguments is deeper than {_MAX_DEPTH} levels")
    return shape


def fault_of_call(shape: Shape, arguments: Mapping[str, JsonValue]) -> str:
    """What is wrong with the arguments of a call; empty where they fit.

    An argument that the schema does not name is a fault, whatever the schema says of others.
    """
    for name in arguments:
        if name not in shape.properties:
            known = ", ".join(shape.properties) or "none"
            return f"there is no argument {quote(name)}; there are: {known}"
    return next(_faults(shape, dict(arguments), ""), "")


def _faults(shape: Shape, value: JsonValue, at: str) -> Iterator[str]:
    where = f"argument {at}" if at else "the call"
    if not any(_is_of(value, kind) for kind in shape.types):
        yield f"{where} is no {' or '.join(shape.types)}"
        return
    if shape.enum is not None and not any(_same(value, one) for one in shape.enum):
        yield f"{where} is none of the values allowed"
    if isinstance(value, dict):
        yield from (f"{where} lacks {name!r}" for name in shape.required if name not in value)
        for name, one in value.items():
            if name in shape.properties:
                yield from _faults(shape.properties[name], one, f"{at}.{name}" if at else name)
            elif not shape.additionalProperties:
                yield f"{where} has {quote(name)}, which it may not have"
    elif isinstance(value, list | str):
        yield from _faults_of_length(shape, value, where)
        if isinstance(value, list) and shape.items is not None:
            for index, one in enumerate(value):
                yield from _faults(shape.items, one, f"{at}[{index}]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if shape.minimum is not None and value < shape.minimum:
            yield f"{where} is less than {shape.minimum:g}"
        if shape.maximum is not None and value > shape.maximum:
            yield f"{where} is more than {shape.maximum:g}"


def _faults_of_length(shape: Shape, value: "list[JsonValue] | str", where: str) -> Iterator[str]:
    is_text = isinstance(value, str)
    least = shape.minLength if is_text else shape.minItems
    most = shape.maxLength if is_text else shape.maxItems
    if len(value) < least:
        yield f"{where} is shorter than {least}"
    if most is not None and len(value) > most:
        yield f"{where} is longer than {most}"


def _is_of(value: JsonValue, kind: Type) -> bool:
    # In Python, True is an integer; in JSON it is none.
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _PYTHON[kind])


def _same(one: JsonValue, other: JsonValue) -> bool:
    return type(one) is type(other) and one == other


def _depth(shape: Shape) -> int:
    below = [*shape.properties.values(), *([shape.items] if shape.items else [])]
    return 1 + max(map(_depth, below), default=0)

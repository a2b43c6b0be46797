"""The review of a set of cases by the model that worded them: what is missing, what is trivial.

Dimensions and questions in, values that they lack and questions that test nothing out. The one idea
is that a model may name what nobody thought of, and that code decides what becomes of it: a value
that only changes wording is tried out, one that no code computes is said and left.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field

from flywheel.errors import BadInput
from flywheel.evolution.cases.dimensions import BY_CODE, MOST_DIMENSIONS, MOST_VALUES, Plan
from flywheel.evolution.copying import check_own_words
from flywheel.judge.prompts import escaped
from flywheel.models.chat import Message
from flywheel.models.writer import Writer
from flywheel.settings import PrivacySettings

# More than these are not taken up at once.
_MOST_MISSING = 6
_NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")
_LONGEST_VALUE = 40

_SYSTEM = """You review a set of test questions about tables of records. You are given its
dimensions, each with its values, and its questions with their numbers.

Name what is missing: a value of a dimension, or a new dimension with a value, that users will meet
and no question has. Only what changes how a question is worded can be tried out; what would change
the records or the answer is noted. Then name the questions that test nothing, because anybody could
answer them without reading the records.

Reply with one JSON object:
{"missing": [{"dimension": "language", "value": "French", "why": "..."}],
"trivial": [{"number": 3, "why": "..."}]}
Names of dimensions are lower case. Both lists may be empty."""


class _Missing(BaseModel):
    dimension: str
    value: str
    why: str = ""


class _Trivial(BaseModel):
    number: int
    why: str = ""


class ReviewForm(BaseModel):
    """What the model replies."""

    missing: list[_Missing] = Field(default_factory=list)
    trivial: list[_Trivial] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Review:
    """`more` are values to try out; `noted` is what was named and is not, with why; `trivial` are
    places of questions.
    """

    more: tuple[tuple[str, str], ...] = ()
    noted: tuple[str, ...] = ()
    trivial: tuple[int, ...] = ()


def review(
    writer: Writer, plan: Plan, questions: Sequence[str], privacy: PrivacySettings
) -> Review:
    """What the model finds missing and trivial; raises NotWritten where it finds no words."""
    given = {
        "dimensions": {name: list(values) for name, values in plan.dimensions.items()},
        "questions": [
            {"number": number, "question": text} for number, text in enumerate(questions, start=1)
        ],
    }
    said = escaped(json.dumps(given, ensure_ascii=False))
    form = writer.write([Message("system", _SYSTEM), Message("user", said)], ReviewForm)
    more: list[tuple[str, str]] = []
    noted: list[str] = []
    for one in form.missing:
        name, value = one.dimension.strip().lower().replace(" ", "_"), one.value.strip()
        if why := _why_not(plan.with_values(more), name, value, privacy):
            noted.append(why)
        elif len(more) < _MOST_MISSING:
            more.append((name, value))
    trivial = {one.number - 1 for one in form.trivial if 0 < one.number <= len(questions)}
    return Review(tuple(more), tuple(dict.fromkeys(noted)), tuple(sorted(trivial)))


def _why_not(plan: Plan, name: str, value: str, privacy: PrivacySettings) -> str:
    """Why a value is not tried out, as a sentence; empty where it is."""
    is_value = value.isprintable() and 0 < len(value) <= _LONGEST_VALUE
    if not _NAME.fullmatch(name) or not is_value:
        return "a dimension or a value was named that cannot be one"
    try:
        check_own_words(value, (), privacy)
    except BadInput as error:
        return f"a value of {name} {error}"
    if name in BY_CODE:
        is_known = value in plan.dimensions.get(name, ()) or value in BY_CODE[name]
        return f"{name} {value!r}: {'declare it' if is_known else 'no code computes it'}"
    values = plan.dimensions.get(name)
    if value in (values or ()):
        return f"{name} {value!r}: it is there"
    if values is None and len(plan.dimensions) >= MOST_DIMENSIONS:
        return f"{name} {value!r}: there are {MOST_DIMENSIONS} dimensions already"
    if len(values or ()) >= MOST_VALUES:
        return f"{name} {value!r}: it has {MOST_VALUES} values already"
    return ""

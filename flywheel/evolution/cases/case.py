"""One case, as it stands in a line of `cases/NAME.jsonl`.

Lines in, cases out, and back. A made-up case holds its rows, its question and the ids that answer
it; a regression case names the trace that people corrected and none of its words, so that a trace
that is forgotten is gone from here as well.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from flywheel.errors import BadInput
from flywheel.models.writer import faults_of


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MadeUpCase(_Line):
    """A question about rows; `answer` are ids in the order of the rows, as code computed them."""

    case: str
    kind: Literal["made-up"] = "made-up"
    question: str = Field(min_length=1, max_length=1_000)
    rows: list[dict[str, Any]] = Field(min_length=1)
    answer: list[str]
    dimensions: dict[str, str]
    worded_by: str


class RegressionCase(_Line):
    """What people corrected: the message at `turn` of one version of a trace."""

    case: str
    kind: Literal["regression"] = "regression"
    app: str
    trace_id: str
    content_hash: str
    turn: int = Field(ge=0)
    correction: str


Case = MadeUpCase | RegressionCase
_ADAPTER: TypeAdapter[Case] = TypeAdapter(Annotated[Case, Field(discriminator="kind")])


def case_id(*parts: object) -> str:
    """Names a case by what it is made of."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return "c-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_cases(name: str, text: str | None) -> list[Case]:
    """The cases of a file's text; raises BadInput on a line that is none, or a case twice."""
    found: list[Case] = []
    for number, line in enumerate((text or "").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found.append(_ADAPTER.validate_json(line))
        except ValidationError as error:
            raise BadInput(f"{name} line {number} is no case: {faults_of(error)}") from error
    if len({each.case for each in found}) < len(found):
        raise BadInput(f"{name} has a case twice; every case has an id of its own")
    return found


def written(cases: Iterable[Case]) -> str:
    """Cases as JSON lines."""
    return "".join(json.dumps(each.model_dump(), ensure_ascii=False) + "\n" for each in cases)


def appended(text: str | None, cases: Sequence[Case]) -> str:
    """A file's text with cases behind it; what stands there stays as it is."""
    before = (text or "").rstrip("\n")
    return (before + "\n" if before else "") + written(cases)

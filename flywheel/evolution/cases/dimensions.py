"""The dimensions of a file of cases: what can differ from one case to another, declared by people.

`cases/NAME.toml` in, a `Plan` out. The one idea is that what a dimension changes is known by its
name: the answer, which code computes; the rows that are asked about, which code makes; or else the
wording of the question alone, so that any name of one's own will do.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from flywheel.errors import BadInput, NotFound
from flywheel.evolution.cases.covering import Rule
from flywheel.evolution.kept_files import read_kept
from flywheel.models.writer import faults_of

# What code computes an answer for: how the records are meant, and how many they are.
ADDRESSING = ("position", "content", "author", "time", "compound")
CARDINALITY = ("none", "one", "several", "all")
ANSWER: dict[str, tuple[str, ...]] = {"addressing": ADDRESSING, "cardinality": CARDINALITY}
# What code makes of the rows that are asked about.
ROWS: dict[str, tuple[str, ...]] = {
    "structure": ("flat", "nested", "ragged"),
    "length": ("short", "long"),
    "noise": ("clean", "marks"),
}
BY_CODE = ANSWER | ROWS
# Of all values of two dimensions there are pairs: 12 dimensions of 20 values are 26,400.
MOST_DIMENSIONS, MOST_VALUES = 12, 20

START = """# What can differ from one case to another; every two values stand together in some case.
# addressing, cardinality: code computes the answer. structure, length, noise: code makes the rows.
# Any other name changes the wording alone.

[[dimension]]
name = "addressing"
values = ["position", "content", "author", "time", "compound"]

[[dimension]]
name = "cardinality"
values = ["none", "one", "several", "all"]

[[dimension]]
name = "structure"
values = ["flat", "nested", "ragged"]

[[dimension]]
name = "length"
values = ["short", "long"]

[[dimension]]
name = "noise"
values = ["clean", "marks"]

[[dimension]]
name = "language"
values = ["English", "German", "Japanese"]

[[dimension]]
name = "wording"
values = ["plain", "terse", "with typing mistakes"]
"""

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,29}$")]
_Value = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,40}$")]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Dimension(_Form):
    name: _Name
    values: list[_Value] = Field(min_length=1)


class RowsOf(_Form):
    """Rows of one's own: a file of JSON lines beside this one, and what its columns are."""

    file: str = Field(pattern=r"^[^/\\]{1,100}$")
    id: str
    author: str = ""
    time: str = ""
    content: str = ""


class _File(_Form):
    app: str = ""
    rows: RowsOf | None = None
    dimension: list[_Dimension] = Field(min_length=1)
    never: list[dict[_Name, list[_Value]]] = []


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file declares; `app` is whose users show how people ask, empty for nobody's."""

    name: str
    dimensions: dict[str, tuple[str, ...]]
    never: tuple[Rule, ...] = ()
    app: str = ""
    rows: RowsOf | None = None

    def with_values(self, more: Sequence[tuple[str, str]]) -> "Plan":
        """The plan with values besides; dimensions that it has not come last."""
        return replace(self, dimensions=_joined(self.dimensions, more))


def folder_of(project_folder: Path) -> Path:
    """Where a project's cases stand."""
    return project_folder / "cases"


def plans_in(folder: Path) -> list[str]:
    """The names of the files of dimensions in a folder of cases."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def plan_named(folder: Path, name: str) -> Plan:
    """The plan `name` of a folder; raises NotFound, and BadInput on a file that is none."""
    path = folder / f"{name}.toml"
    text = read_kept(path) if _NAME.fullmatch(name) and path.is_file() else None
    if text is None:
        raise NotFound("file of dimensions", name, plans_in(folder))
    return read_plan(name, text)


def read_plan(name: str, text: str) -> Plan:
    """The plan of a file's text; raises BadInput with what is wrong and what would be right."""
    try:
        read = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{name}.toml is no TOML: {error}") from error
    except ValidationError as error:
        raise BadInput(f"{name}.toml: {faults_of(error)}") from error
    given = [(each.name, value) for each in read.dimension for value in each.values]
    never = tuple({key: frozenset(values) for key, values in rule.items()} for rule in read.never)
    plan = Plan(name, _joined({}, given), never, read.app, read.rows)
    _check(plan)
    return plan


def appended(text: str, more: Sequence[tuple[str, str]]) -> str:
    """The file's text with values besides: a name that stands twice has the values of both."""
    blocks = [
        f'\n[[dimension]]\nname = "{name}"\nvalues = [{_quoted(value)}]\n' for name, value in more
    ]
    return text.rstrip("\n") + "\n" + "".join(blocks)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _joined(
    before: Mapping[str, Sequence[str]], more: Sequence[tuple[str, str]]
) -> dict[str, tuple[str, ...]]:
    found = {name: dict.fromkeys(values) for name, values in before.items()}
    for name, value in more:
        found.setdefault(name, {})[value] = None
    return {name: tuple(values) for name, values in found.items()}


def _check(plan: Plan) -> None:
    """Raise BadInput on values that no code computes, and on more than can be covered."""
    sizes = [len(values) for values in plan.dimensions.values()]
    if len(sizes) > MOST_DIMENSIONS or max(sizes) > MOST_VALUES:
        raise BadInput(
            f"{plan.name}.toml has {len(sizes)} dimensions of {max(sizes)} values at most; "
            f"{MOST_DIMENSIONS} of {MOST_VALUES} can be covered"
        )
    for name, known in BY_CODE.items():
        for value in plan.dimensions.get(name, ()):
            if value not in known:
                raise BadInput(
                    f"{plan.name}.toml: no code knows the {name} {value!r}; "
                    f"write of {', '.join(known)}"
                )
    for name in ANSWER:
        if name not in plan.dimensions:
            raise BadInput(f"{plan.name}.toml has no dimension {name!r}, which makes the answer")
    _check_rules(plan)
    if plan.rows is not None:
        _check_rows(plan, plan.rows)


def _check_rules(plan: Plan) -> None:
    for rule in plan.never:
        if not rule:
            raise BadInput(f"{plan.name}.toml: a rule under [[never]] is empty; take it out")
        for name, values in rule.items():
            unknown = sorted(values - set(plan.dimensions.get(name, ())))
            if unknown or not values:
                raise BadInput(
                    f"{plan.name}.toml: a rule under [[never]] names {name} "
                    f"{unknown[0] if unknown else ''!r}, which is no value of a dimension"
                )


def _check_rows(plan: Plan, rows: RowsOf) -> None:
    """Rows of one's own have the structure and the noise that they have."""
    if rows.file == f"{plan.name}.jsonl":
        raise BadInput(f"{plan.name}.toml: {rows.file} is the file of its cases; name another")
    for name in ("structure", "noise"):
        if name in plan.dimensions:
            raise BadInput(
                f"{plan.name}.toml: rows of your own have the {name} that they have; "
                f"take the dimension {name!r} out"
            )
    needs = {
        **{"content": ("content",), "author": ("author",), "time": ("time",)},
        "compound": ("author", "content"),
    }
    for value in plan.dimensions["addressing"]:
        for column in needs.get(value, ()):
            if not getattr(rows, column):
                raise BadInput(
                    f"{plan.name}.toml: the addressing {value!r} needs {column!r} under [rows], "
                    "the name of a column"
                )

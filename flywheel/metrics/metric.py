"""What a metric is: a name, whose it is, and the SELECT or the check that gives its values.

The header of a file in, `Metric` out; the one idea is that both kinds give the same rows, so that
only what runs them has to know which is which.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from flywheel.errors import BadMetric

if TYPE_CHECKING:
    from flywheel.metrics.checks.check import Check

Level = Literal["trace", "turn"]
Direction = Literal["lower_is_better", "higher_is_better", "neutral"]
Node = Literal["trace", "input", "classifier", "writer", "code_generator", "tool_call", "retriever"]
Closed = TypeVar("Closed", Level, Direction, Node)
LEVELS: tuple[Level, ...] = ("trace", "turn")
DIRECTIONS: tuple[Direction, ...] = ("lower_is_better", "higher_is_better", "neutral")
NODES: tuple[Node, ...] = (
    *("trace", "input", "classifier", "writer", "code_generator", "tool_call", "retriever"),
)
REQUIRED_KEYS = ("name", "level", "direction", "owner", "review_due")

# The judge's metrics: a file of such a name would pass for its verdicts.
RESERVED = frozenset({"perceived_error", "probe"})


@dataclass(frozen=True, slots=True)
class Metric:
    """What gives a value for a trace or a turn, which node it is about, and who answers for it."""

    name: str
    level: Level
    node: Node
    direction: Direction
    owner: str
    review_due: date
    description: str
    version: str
    file: str


@dataclass(frozen=True, slots=True)
class SqlMetric(Metric):
    """A metric that is a SELECT; it reads `tools` and `labels` as variables of these names.

    `tools` are LIKE patterns of the names of tools that retrieve, `labels` the answers that a
    classifier may give.
    """

    sql: str
    tools: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckMetric(Metric):
    """A metric that is one of the product's checks, with a project's options."""

    check: "Check"


def metric_of(
    file: str,
    header: Mapping[str, str],
    description: str,
    version: str,
    line: str = "the header line '{}: ...'",
) -> Metric:
    """What every metric has, from the header of its file; `line` is how one of it is written.

    Raises BadMetric where it is wrong.
    """
    missing = [key for key in REQUIRED_KEYS if not header.get(key)]
    if missing:
        raise BadMetric(file, f"lacks {line.format(missing[0])} at its top")
    if not description:
        raise BadMetric(file, "lacks what it measures, in words at its top")
    name = header["name"]
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise BadMetric(file, f"the name {name!r} is not made of a-z, 0-9 and _")
    if name in RESERVED:
        raise BadMetric(file, f"the name {name!r} is the judge's")
    return Metric(
        name,
        _one_of(file, "level", header["level"], LEVELS),
        _one_of(file, "node", header.get("node") or "trace", NODES),
        _one_of(file, "direction", header["direction"], DIRECTIONS),
        header["owner"],
        _day(file, header["review_due"]),
        description,
        version,
        file,
    )


def shared_fields(metric: Metric) -> dict[str, Any]:
    """The fields that every metric has, to make one of a kind from them."""
    return {field.name: getattr(metric, field.name) for field in fields(Metric)}


def listed(value: str) -> tuple[str, ...]:
    """The parts of a header's value between commas."""
    return tuple(part for part in map(str.strip, value.split(",")) if part)


def known_keys(keys: Iterable[str], known: Iterable[str], file: str, what: str) -> None:
    """Raise BadMetric for the first key that is not known."""
    names = list(known)
    for key in keys:
        if key not in names:
            raise BadMetric(file, f"unknown {what} {key!r}; known: {', '.join(names)}")


def _one_of(file: str, key: str, value: str, known: tuple[Closed, ...]) -> Closed:
    for one in known:
        if one == value:
            return one
    raise BadMetric(file, f"{key} is {value!r}; it is one of {', '.join(known)}")


def _day(file: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise BadMetric(file, f"review_due is {value!r}, no date such as 2027-06-01") from error

"""Metrics as files: a header that says whose and what for, then one SELECT.

SQL files in, `Metric` out; the one idea is that a metric is the text of its file, so its version is
the hash of that text. Nothing of the SELECT is run here, and it is parsed where it can reach no
file, since the parser carries out some PRAGMAs.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal, TypeVar

import duckdb

from flywheel.errors import BadMetric
from flywheel.store.queries import SQL_FOLDER

Level = Literal["trace", "turn"]
Direction = Literal["lower_is_better", "higher_is_better", "neutral"]
Closed = TypeVar("Closed", Level, Direction)
LEVELS: tuple[Level, ...] = ("trace", "turn")
DIRECTIONS: tuple[Direction, ...] = ("lower_is_better", "higher_is_better", "neutral")
KEYS = ("name", "level", "direction", "owner", "review_due")

# The judge's metric: a file of that name would pass for its verdicts.
RESERVED = frozenset({"perceived_error"})
# Far above any metric written by a person; what the parser is given has to end somewhere.
MAX_BYTES = 64 * 1024

_HEADER_LINE = re.compile(r"--\s*(?:([a-z_]+):\s*(.*?)|(.*?))\s*")


@dataclass(frozen=True, slots=True)
class Metric:
    """A SELECT that gives a value for a trace or a turn, and who answers for it."""

    name: str
    level: Level
    direction: Direction
    owner: str
    review_due: date
    description: str
    sql: str
    version: str
    file: str


def load_metrics(metrics_dir: Path | None) -> list[Metric]:
    """The bundled metrics, then those in `metrics_dir`, each by name.

    Raises BadMetric for the first file that is none.
    """
    metrics, refused = read_metrics(metrics_dir)
    if refused:
        raise refused[0]
    return metrics


def read_metrics(metrics_dir: Path | None) -> tuple[list[Metric], list[BadMetric]]:
    """The metrics, and beside them why the other files are none.

    One bad file need not stop the rest.
    """
    metrics: dict[str, Metric] = {}
    refused: list[BadMetric] = []
    for path in _metric_files(metrics_dir):
        try:
            metric = read_metric(path)
            if metric.name in metrics:
                raise BadMetric(
                    str(path), f"{metrics[metric.name].file} has the name {metric.name!r} already"
                )
        except BadMetric as error:
            refused.append(error)
        else:
            metrics[metric.name] = metric
    return list(metrics.values()), refused


def read_metric(path: Path) -> Metric:
    """The metric that a file holds; raises BadMetric where it holds none."""
    file = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadMetric(file, f"cannot be read as text: {error}") from error
    if len(text.encode()) > MAX_BYTES:
        raise BadMetric(file, f"is longer than {MAX_BYTES // 1024} KiB")
    header, description = _read_header(file, text)
    name = header["name"]
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise BadMetric(file, f"the name {name!r} is not made of a-z, 0-9 and _")
    if name in RESERVED:
        raise BadMetric(file, f"the name {name!r} is the judge's")
    _check_statement(file, text)
    return Metric(
        name,
        _one_of(file, "level", header["level"], LEVELS),
        _one_of(file, "direction", header["direction"], DIRECTIONS),
        header["owner"],
        _day(file, header["review_due"]),
        description,
        text,
        hashlib.sha256(text.encode()).hexdigest()[:12],
        file,
    )


def _metric_files(metrics_dir: Path | None) -> Iterator[Path]:
    yield from sorted((SQL_FOLDER / "metrics").glob("*.sql"))
    if metrics_dir is not None:
        yield from sorted(metrics_dir.glob("*.sql"))


def _read_header(file: str, text: str) -> tuple[dict[str, str], str]:
    header: dict[str, str] = {}
    sentences: list[str] = []
    for line in text.splitlines():
        found = _HEADER_LINE.fullmatch(line)
        if not found:
            break
        key, value, sentence = found.groups()
        if key is None:
            sentences.append(sentence)
        elif key not in KEYS:
            raise BadMetric(file, f"unknown header {key!r}; known: {', '.join(KEYS)}")
        elif key in header:
            raise BadMetric(file, f"the header {key!r} stands there twice")
        else:
            header[key] = value
    missing = [key for key in KEYS if not header.get(key)]
    if missing:
        raise BadMetric(file, f"lacks the header line '-- {missing[0]}: ...' at its top")
    description = " ".join(filter(None, sentences))
    if not description:
        raise BadMetric(file, "lacks a comment at its top that says what it measures")
    return header, description


def _check_statement(file: str, text: str) -> None:
    with duckdb.connect(config={"enable_external_access": "false"}) as parser:
        try:
            statements = parser.extract_statements(text)
            kinds = [statement.type.name for statement in statements]
            if len(kinds) == 1 and kinds[0].startswith("SELECT"):
                # What only looks like a SELECT to the parser, a PRAGMA or SHOW, is no view.
                parser.extract_statements(f"create view metric as {text}")
                return
        except duckdb.Error as error:
            raise BadMetric(file, str(error).partition("\n")[0]) from error
    if len(kinds) != 1:
        raise BadMetric(file, f"holds {len(kinds)} statements; a metric is one SELECT")
    raise BadMetric(file, f"is a statement of the kind {kinds[0]}; a metric is one SELECT")


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

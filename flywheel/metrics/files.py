"""Metrics as files: who and what for, then one SELECT, or the name of a check and its options.

Files in, `Metric` out; the one idea is that a metric is the text of its file, so its version is the
hash of that text, and of the product's code and view that it builds on. Nothing is run here, and a
SELECT is parsed where it can reach no file, since the parser carries out some PRAGMAs.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import duckdb
from pydantic import ValidationError

from flywheel.errors import BadInput, BadMetric, NotFound
from flywheel.metrics.checks import CHECKS, code_of
from flywheel.metrics.metric import (
    REQUIRED_KEYS,
    CheckMetric,
    Metric,
    SqlMetric,
    known_keys,
    listed,
    metric_of,
    shared_fields,
)
from flywheel.store.queries import SQL_FOLDER, query

SQL_KEYS = (*REQUIRED_KEYS, "node", "tools", "labels")
TOML_KEYS = (*REQUIRED_KEYS, "node", "description", "check", "options")
# Metrics that cost more or need a project's own words, for a project to copy.
EXAMPLES = Path(__file__).with_name("examples")
# Names of tools that look something up, as LIKE patterns.
RETRIEVING_TOOLS = (
    *("%search%", "%retriev%", "%lookup%", "%look_up%", "%find%", "query%", "%query"),
    *("grep", "glob", "%knowledge%"),
)
# Far above any metric written by a person; what the parser is given has to end somewhere.
MAX_BYTES = 64 * 1024

_HEADER_LINE = re.compile(r"--\s*(?:([a-z_]+):\s*(.*?)|(.*?))\s*")


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
    return _check_metric(file, text) if path.suffix == ".toml" else _sql_metric(file, text)


def add_example(name: str, metrics_dir: Path) -> Path:
    """Copy an example into a project's folder, to be changed there; the new file.

    Raises NotFound where there is none of this name, BadInput where the project has the file.
    """
    known = {path.stem: path for path in sorted(EXAMPLES.iterdir())}
    if name not in known:
        raise NotFound("example of a metric", name, list(known))
    target = metrics_dir / known[name].name
    if target.exists():
        raise BadInput(f"{target} exists already; nothing was changed")
    metrics_dir.mkdir(parents=True, exist_ok=True)
    target.write_text(known[name].read_text(encoding="utf-8"), encoding="utf-8")
    return target


def _metric_files(metrics_dir: Path | None) -> Iterator[Path]:
    for folder in (SQL_FOLDER / "metrics", metrics_dir):
        if folder is not None:
            yield from sorted([*folder.glob("*.sql"), *folder.glob("*.toml")])


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def _sql_metric(file: str, text: str) -> SqlMetric:
    header, description = _read_header(file, text)
    line = "the header line '-- {}: ...'"
    # Which texts a node has is the view's word, and a metric of whole traces may do without it.
    view = "" if header.get("node", "trace") == "trace" else query("metrics_runs/nodes")
    version = _hash(text.encode(), view.encode())
    metric = metric_of(file, header, description, version, line)
    _check_statement(file, text)
    return SqlMetric(
        **shared_fields(metric),
        sql=text,
        tools=listed(header.get("tools", "")) or RETRIEVING_TOOLS,
        labels=listed(header.get("labels", "")),
    )


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
            continue
        known_keys([key], SQL_KEYS, file, "header")
        if key in header:
            raise BadMetric(file, f"the header {key!r} stands there twice")
        header[key] = value
    return header, " ".join(filter(None, sentences))


def _check_statement(file: str, text: str) -> None:
    if fault := _statement_fault(text):
        raise BadMetric(file, fault)


@cache
def _statement_fault(text: str) -> str | None:
    """Why the text is no metric; each text is asked once, since a parser takes 30 ms to start."""
    with duckdb.connect(config={"enable_external_access": "false"}) as parser:
        try:
            statements = parser.extract_statements(text)
            kinds = [statement.type.name for statement in statements]
            if len(kinds) == 1 and kinds[0].startswith("SELECT"):
                # What only looks like a SELECT to the parser, a PRAGMA or SHOW, is no view.
                parser.extract_statements(f"create view metric as {text}")
                return None
        except duckdb.Error as error:
            return str(error).partition("\n")[0]
    if len(kinds) != 1:
        return f"holds {len(kinds)} statements; a metric is one SELECT"
    return f"is a statement of the kind {kinds[0]}; a metric is one SELECT"


def _check_metric(file: str, text: str) -> CheckMetric:
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadMetric(file, f"is not TOML: {error}") from error
    known_keys(table, TOML_KEYS, file, "key")
    header = {key: str(value) for key, value in table.items() if key != "options"}
    name, description = header.get("check", ""), " ".join(header.get("description", "").split())
    known_keys([name], CHECKS, file, "check")
    version = _hash(text.encode(), code_of(name))
    metric = metric_of(file, header, description, version, "the line '{} = ...'")
    try:
        check = CHECKS[name].model_validate(table.get("options", {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["options", *map(str, first["loc"])])
        raise BadMetric(file, f"{where}: {first['msg']}; got {first['input']!r}") from error
    return CheckMetric(**shared_fields(metric), check=check)

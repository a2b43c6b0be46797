"""Rubrics as metrics: a Markdown file that says whose and what for, and what is yes or no.

Markdown files in, `RubricMetric` out; the one idea is that a rubric file is all that a new judge
needs. Nothing is judged here. The rubric of perceived errors is another thing: people read it too.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from flywheel.errors import BadMetric
from flywheel.metrics.metric import REQUIRED_KEYS, RESERVED, Metric, known_keys, metric_of

KEYS = (*REQUIRED_KEYS, "node", "judge", "sample")
# A rubric is read with every trace; what people write by hand is far below this.
MAX_BYTES = 64 * 1024
# Markdown beside metrics that is none.
_OTHER_FILES = {f"{name}.md" for name in RESERVED} | {"readme.md"}
# What a judge's reply has beside the label, which is the name of the metric.
_OTHER_REPLY_KEYS = frozenset({"reason", "reason_code"})

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*\n(.*)\Z", re.DOTALL | re.MULTILINE)
_LINE = re.compile(r"([a-z_]+):\s*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class RubricMetric(Metric):
    """A rubric that a judge answers with yes or no for a trace.

    `judge` is one of `[judges.NAME]`, empty for that of the project; `sample` is the most traces of
    a day that it reads, None for as many as the project's. `version` is the hash of what decides:
    the name and the rubric; `description` is the rubric's first line.
    """

    judge: str
    sample: int | None
    rubric: str


def read_rubrics(
    metrics_dir: Path | None, taken: Collection[str] = ()
) -> tuple[list[RubricMetric], list[BadMetric]]:
    """The rubric metrics of a folder by file, and beside them why other files are none.

    `taken` are names that other metrics have already.
    """
    found: dict[str, RubricMetric] = {}
    refused: list[BadMetric] = []
    for path in sorted(metrics_dir.glob("*.md")) if metrics_dir is not None else []:
        if path.name.lower() in _OTHER_FILES:
            continue
        try:
            metric = read_rubric(path)
            if metric.name in taken or metric.name in found:
                raise BadMetric(str(path), f"another file has the name {metric.name!r} already")
        except BadMetric as error:
            refused.append(error)
        else:
            found[metric.name] = metric
    return list(found.values()), refused


def read_rubric(path: Path) -> RubricMetric:
    """The rubric metric that a file holds; raises BadMetric where it holds none."""
    file, text = str(path), _text_of(path)
    parts = _FRONT_MATTER.match(text)
    if parts is None:
        raise BadMetric(file, "lacks the block between two lines of --- at its top")
    header, rubric = _read_header(file, parts[1]), parts[2].strip()
    if not rubric:
        raise BadMetric(file, "lacks the rubric below its header: say what is yes, and what is no")
    version = hashlib.sha256(f"{header.get('name')}\n{rubric}".encode()).hexdigest()[:12]
    opening = rubric.splitlines()[0].lstrip("# ").strip()
    metric = metric_of(file, header, opening, version)
    if metric.name in _OTHER_REPLY_KEYS:
        raise BadMetric(file, f"the name {metric.name!r} is that of another key of a judge's reply")
    if metric.level != "trace":
        raise BadMetric(file, f"level is {metric.level!r}; a rubric is of a whole trace")
    return RubricMetric(
        **asdict(metric),
        judge=header.get("judge", ""),
        sample=_sample(file, header.get("sample", "")),
        rubric=rubric,
    )


def _text_of(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadMetric(str(path), f"cannot be read as text: {error}") from error
    if len(text.encode()) > MAX_BYTES:
        raise BadMetric(str(path), f"is longer than {MAX_BYTES // 1024} KiB")
    return text


def _read_header(file: str, block: str) -> dict[str, str]:
    header: dict[str, str] = {}
    for line in filter(str.strip, block.splitlines()):
        found = _LINE.fullmatch(line)
        if found is None:
            raise BadMetric(file, f"the header line {line[:60]!r} is not of the form 'key: value'")
        key, value = found.groups()
        known_keys([key], KEYS, file, "header")
        if key in header:
            raise BadMetric(file, f"the header {key!r} stands there twice")
        header[key] = value
    return header


def _sample(file: str, value: str) -> int | None:
    if not value:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,6}", value):
        raise BadMetric(file, f"sample is {value!r}, no number of traces a day such as 100")
    return int(value)

"""Changes of the metric set as a model writes them, and the files that they amount to.

A model's answer in, texts of metric files out. The one idea is that a model gives what it knows,
and the header of the file is written by code: a name, a direction and a SELECT cannot then pass for
an owner or a date.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from flywheel.errors import BadMetric
from flywheel.evolution.proposals import Change
from flywheel.metrics import Metric
from flywheel.metrics.files import RETRIEVING_TOOLS
from flywheel.metrics.metric import SqlMetric
from flywheel.metrics.rubric_files import RubricMetric

Form = Literal["sql", "rubric"]
SUFFIX: dict[Form, str] = {"sql": ".sql", "rubric": ".md"}
# Changes in one answer; each is measured, and each is a test on the same labels.
MOST_CHANGES = 5
# After half a year somebody should ask whether it still measures what it did.
_REVIEW_AFTER = timedelta(days=182)

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=600)]


class WantedChange(BaseModel):
    """One change of the metric set."""

    model_config = ConfigDict(extra="forbid")

    change: Change
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    form: Form
    direction: Literal["lower_is_better", "higher_is_better"]
    description: Line
    body: Annotated[str, StringConstraints(max_length=20_000)] = ""
    why: Line
    logs: Annotated[list[int], Field(max_length=50)] = []


class WantedChanges(BaseModel):
    """What the metric set should become; no change is an answer too."""

    model_config = ConfigDict(extra="forbid")

    changes: Annotated[list[WantedChange], Field(max_length=MOST_CHANGES)]


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """A metric of the project with the text of its file."""

    metric: Metric
    file: str
    text: str


def file_text(wanted: WantedChange, present: Metric | None, author: str, today: date) -> str:
    """The file of an added or redefined metric; who owns a present one goes on to own it.

    Raises BadMetric where a metric that reads more than whole traces would be redefined.
    """
    if present is not None and present.level != "trace":
        raise BadMetric(present.name, "is of turns; a metric of turns is redefined by hand")
    header = {
        "name": wanted.name,
        "level": "trace",
        **({"node": present.node} if present is not None and present.node != "trace" else {}),
        "direction": wanted.direction,
        "owner": present.owner if present is not None else f"proposed by {author}",
        "review_due": (today + _REVIEW_AFTER).isoformat(),
        **_kept(present),
    }
    # One line, with a capital: no line of words may look like one of the header.
    said = " ".join(wanted.description.split())
    said = said[:1].upper() + said[1:]
    body = wanted.body.strip()
    if wanted.form == "rubric":
        lines = ["---", *(f"{key}: {value}" for key, value in header.items()), "---"]
        return "\n".join([*lines, *([] if body.startswith("# ") else [f"# {said}", ""]), body, ""])
    lines = [f"-- {said}", *(f"-- {key}: {value}" for key, value in header.items())]
    # The header ends here, whatever the body begins with.
    gap = [""] if body.startswith("--") else []
    return "\n".join([*lines, *gap, body.rstrip("; \n"), ""])


def _kept(present: Metric | None) -> dict[str, str]:
    """What else of a present header a redefinition leaves alone."""
    if isinstance(present, SqlMetric):
        tools = "" if present.tools == RETRIEVING_TOOLS else ", ".join(present.tools)
        kept = {"tools": tools, "labels": ", ".join(present.labels)}
    elif isinstance(present, RubricMetric):
        kept = {"judge": present.judge, "sample": str(present.sample or "")}
    else:
        kept = {}
    return {key: value for key, value in kept.items() if value}

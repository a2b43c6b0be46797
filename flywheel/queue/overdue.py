"""Metrics whose review is overdue: some of their verdicts, for people to say if they are right.

Scores by code and the chances of a day's draw in, items and what to note on them out; the one idea
is that this is one more draw by hash, so that every item keeps the chance that any draw took it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from math import prod
from typing import TYPE_CHECKING

import pyarrow as pa

from flywheel.store.warehouse import Connection

if TYPE_CHECKING:
    from flywheel.metrics import Metric

_Row = Mapping[str, object]
_Key = tuple[str, str]

# What a metric of yes or no says where it speaks against a trace; of a neutral one, yes.
AGAINST = {"lower_is_better": "true", "higher_is_better": "false", "neutral": "true"}


@dataclass(frozen=True, slots=True)
class Overdue:
    """What the overdue draw adds: items of its own, and by version of a trace what it questions."""

    items: list[_Row] = field(default_factory=list)
    questioned: Mapping[_Key, list[_Row]] = field(default_factory=dict)
    missed: Mapping[_Key, float] = field(default_factory=dict)

    def with_chance(self, item: _Row) -> dict[str, object]:
        """The item with the chance that its own draw or this one took it."""
        key = str(item["trace_id"]), str(item["content_hash"])
        chance = 1 - (1 - float(str(item["draw_probability"]))) * self.missed.get(key, 1.0)
        return dict(item) | {"draw_probability": chance}


def keys_of(items: Iterable[_Row]) -> pa.Table:
    """The versions of traces of these items."""
    keys = [(str(item["trace_id"]), str(item["content_hash"])) for item in items]
    names = ("trace_id", "content_hash")
    return pa.table(
        {name: pa.array([key[i] for key in keys], pa.string()) for i, name in enumerate(names)}
    )


def noted(against: Mapping[_Key, list[_Row]], overdue: Overdue) -> dict[_Key, list[_Row]]:
    """What to keep of metrics with each item: those against it, and those in question."""
    rows: dict[_Key, dict[str, _Row]] = defaultdict(dict)
    for key, flags in against.items():
        for flag in flags:
            rows[key][str(flag["metric"])] = {**flag, "is_against": True, "is_questioned": False}
    for key, verdicts in overdue.questioned.items():
        rows[key] |= {str(verdict["metric"]): verdict for verdict in verdicts}
    return {key: list(by_metric.values()) for key, by_metric in rows.items()}


def draw_overdue(
    connection: Connection,
    chances: pa.Table,
    drawn: pa.Table,
    metrics: Iterable["Metric"],
    day: date,
    items_per_metric: int,
) -> Overdue:
    """Verdicts of each metric whose `review_due` lies before the day, half of them against a trace.

    Only traces that could be drawn are, and the audit's probability stays what it is.
    """
    late = [metric for metric in metrics if metric.review_due < day]
    if not late or not items_per_metric:
        return Overdue()
    overdue = pa.table(
        {
            "metric": pa.array([m.name for m in late], pa.string()),
            "label": pa.array([AGAINST[m.direction] for m in late], pa.string()),
        }
    )
    with connection.given(chances=chances, drawn=drawn, overdue=overdue):
        verdicts = connection.table("queue/overdue_verdicts", day=day, items=items_per_metric)
        with connection.given(verdicts=verdicts):
            items = connection.table("queue/overdue_items", day=day).to_pylist()
    questioned, chance = defaultdict(list), defaultdict(list)
    for verdict in verdicts.to_pylist():
        key = verdict["trace_id"], verdict["content_hash"]
        chance[key].append(verdict["chance"])
        if verdict["is_questioned"]:
            questioned[key].append(verdict)
    missed = {key: prod(1 - one for one in found) for key, found in chance.items()}
    return Overdue(items, questioned, missed)

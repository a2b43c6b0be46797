"""Traces whose numbers are unlike those of the days before, by an isolation forest.

Cheap counts of each trace in, a score out (Liu, Ting and Zhou 2008). The forest is grown on one
half of the earlier traces and the threshold is taken from the other, so that `false_alarms` is what
a day like those before gives.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from flywheel.metrics.checks.check import Answer, Check, DayView, Finding
from flywheel.metrics.checks.reference import alarm_from
from flywheel.metrics.metric import Level, Node
from flywheel.records import unit_hash
from flywheel.statistics import Floats

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

# A quantile of .99 needs its hundred, on each half.
MIN_REFERENCE = 200


class Anomaly(Check):
    """The score of the forest in (0, 1): .5 and less is usual, near 1 stands alone."""

    reference_days: int = Field(28, ge=1, description="Days before that a trace is compared with.")
    reference_traces: int = Field(
        5_000, ge=MIN_REFERENCE, le=100_000, description="Of each application, at most, by hash."
    )
    false_alarms: float = Field(
        0.01, ge=0.001, lt=0.5, description="Share of a usual day that is called an anomaly."
    )
    trees: int = Field(100, ge=10, le=1_000, description="Of the forest.")

    def answers(self, view: DayView, node: Node, level: Level) -> Iterator[Answer]:
        """See `Check`; it speaks of whole traces."""
        name = "metrics_runs/trace_numbers"
        before = view.earlier(
            name,
            first=view.day - timedelta(days=self.reference_days),
            last=view.day - timedelta(days=1),
            per_app=self.reference_traces,
        )
        today = view.earlier(name, first=view.day, last=view.day, per_app=2**62)
        for app in pc.unique(today["app"]).to_pylist():
            usual = before.filter(pc.equal(before["app"], app))
            if usual.num_rows >= MIN_REFERENCE:
                yield from self._of_app(usual, today.filter(pc.equal(today["app"], app)))

    def _of_app(self, usual: pa.Table, today: pa.Table) -> Iterator[Answer]:
        from sklearn.ensemble import IsolationForest

        names = [name for name in usual.column_names if name not in ("app", "trace_id")]
        known, new = _numbers(usual, names), _numbers(today, names)
        half = np.arange(len(known)) % 2 == 0
        forest = IsolationForest(n_estimators=self.trees, random_state=0).fit(known[half])
        from_here = alarm_from(_scores(forest, known[~half]), self.false_alarms)
        middle = np.median(known, axis=0)
        spread = np.median(np.abs(known - middle), axis=0) + 0.1
        rows = zip(today["trace_id"].to_pylist(), new, _scores(forest, new), strict=True)
        for trace_id, numbers, score in rows:
            if unit_hash(trace_id, "sample") < self.share:
                i = int(np.argmax(np.abs(numbers - middle) / spread))
                reason = (
                    f"Most unusual: {names[i].replace('_', ' ')} {np.expm1(numbers[i]):.0f}, "
                    f"usually {np.expm1(middle[i]):.0f}"
                )
                is_odd = bool(score > from_here)
                yield Answer(trace_id, Finding(float(score), is_odd, reason), None)


def _numbers(table: pa.Table, names: list[str]) -> Floats:
    """Logarithms of the counts, of shape (n_traces, n_names)."""
    columns = [table[name].to_numpy().astype(np.float64) for name in names]
    return np.asarray(np.log1p(np.stack(columns, axis=1)), np.float64)


def _scores(forest: "IsolationForest", numbers: Floats) -> Floats:
    scores: Floats = -np.asarray(forest.score_samples(numbers), np.float64)
    return scores

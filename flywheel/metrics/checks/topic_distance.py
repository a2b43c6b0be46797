"""How far a request lies from what an application was asked before, by the embedder.

The first words of each trace in, a distance out. A request is called far where it is farther from
its nearest earlier ones than all but `false_alarms` of those are from each other.
"""

from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby, islice
from operator import itemgetter

import numpy as np
import pyarrow as pa
from pydantic import Field

from flywheel.metrics.checks.check import Answer, Check, DayView, Finding
from flywheel.metrics.checks.reference import alarm_from
from flywheel.metrics.metric import Level, Node
from flywheel.models.embedder import BUNDLED, Embedder, Vectors, load_embedder
from flywheel.records import unit_hash
from flywheel.statistics import Floats

_MAX_CHARS = 1_000
# Fewer earlier traces than this say nothing about what is usual.
MIN_REFERENCE = 50
_BATCH = 256


class TopicDistance(Check):
    """One less the mean cosine to the `k` nearest of the application's earlier requests."""

    embedder: str = Field(BUNDLED, description="Bundled, or any sentence-transformers model.")
    k: int = Field(5, ge=1, le=50, description="Neighbours.")
    reference_days: int = Field(28, ge=1, description="Days before, that requests are taken from.")
    reference_traces: int = Field(
        500, ge=MIN_REFERENCE, le=20_000, description="Of each application, at most, by hash."
    )
    false_alarms: float = Field(
        0.01, gt=0, lt=0.5, description="Share of usual requests that are called far."
    )

    def answers(self, view: DayView, node: Node, level: Level) -> Iterator[Answer]:
        """See `Check`; a trace is judged by its first request, whatever the node."""
        before = view.earlier(
            "metrics_runs/first_requests",
            first=view.day - timedelta(days=self.reference_days),
            last=view.day - timedelta(days=1),
            max_chars=_MAX_CHARS,
            per_app=self.reference_traces,
        )
        today = view.earlier(
            "metrics_runs/first_requests",
            first=view.day,
            last=view.day,
            max_chars=_MAX_CHARS,
            per_app=2**62,
        )
        embedder = load_embedder(self.embedder, view.threads)
        references = {app: list(rows) for app, rows in _by_app(before)}
        for app, rows in _by_app(today):
            usual = references.get(app, [])
            if len(usual) >= MIN_REFERENCE:
                yield from self._of_app(embedder, [row["request"] for row in usual], rows)

    def _of_app(
        self, embedder: Embedder, usual: list[str], rows: Iterator[dict[str, str]]
    ) -> Iterator[Answer]:
        known = embedder.encode(usual)
        far_from = alarm_from(self._distances(known, known, 1), self.false_alarms)
        sampled = (row for row in rows if unit_hash(row["trace_id"], "sample") < self.share)
        while batch := list(islice(sampled, _BATCH)):
            vectors = embedder.encode([row["request"] for row in batch])
            for row, distance in zip(batch, self._distances(vectors, known), strict=True):
                value = float(distance)
                reason = f"{value:.2f} from the nearest earlier requests; far from {far_from:.2f}"
                yield Answer(row["trace_id"], Finding(value, value > far_from, reason), None)

    def _distances(self, vectors: Vectors, known: Vectors, skipped: int = 0) -> Floats:
        """Mean distance to the `k` nearest, past the first `skipped`, which are the texts
        themselves."""
        nearest = -np.sort(-(vectors @ known.T), axis=1)[:, skipped : skipped + self.k]
        return np.asarray(1 - nearest.mean(axis=1), dtype=np.float64)


def _by_app(table: pa.Table) -> Iterator[tuple[str, Iterator[dict[str, str]]]]:
    return groupby(table.to_pylist(), itemgetter("app"))

"""Drift: whether a day's verdicts, or what its users ask, are unlike those of the days before.

Scores in force and vectors of requests in, rows of `drift` out; the one idea is that a false alarm
has a stated price: all tests of a day together give one in `quality.drift_alpha` of days without
any change, since whole sessions are dealt anew and the level is divided by the number of tests. A
difference that is certain and small is no drift: the scores must have moved by a stability index of
.1 as well.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel.models.embedder import Embedder
from flywheel.quality.day_vectors import vectors_of_day
from flywheel.quality.two_samples import (
    Bools,
    Statistic,
    distance,
    in_bins,
    permutation_test,
    stability,
)
from flywheel.settings import QualitySettings
from flywheel.statistics import Floats
from flywheel.store import Stores
from flywheel.store.snapshots import write_partition

Subject = Literal["scores", "embeddings"]

EVERY_APP = "*"
# Beside all of them together; the busiest of the day.
N_APPS = 4
MIN_SESSIONS, MIN_REFERENCE = 30, 60
# Of a side and an application: with more, only differences too small to matter would be found.
MOST_SESSIONS = 1_500
# Below it, scores have hardly moved however sure it is that they have.
LEAST_PSI = 0.1
# Draws that a p-value at the level of one test rests on.
_DRAWS_BELOW_ALPHA = 10


@dataclass(frozen=True, slots=True)
class DriftTest:
    """One application's day against the days before it.

    `statistic` is the stability index of scores (`psi` too), and the squared distance of the mean
    vectors of requests; `alpha` is the level of this test alone. `n` counts traces.
    """

    day: date
    app: str
    subject: Subject
    statistic: float
    psi: float | None
    p_value: float
    alpha: float
    has_drifted: bool
    n: int
    n_reference: int
    first_reference_day: date
    last_reference_day: date


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The tests of one day; `why` says of each subject that has none what is missing."""

    day: date
    tests: list[DriftTest]
    why: dict[Subject, str]


@dataclass(frozen=True, slots=True)
class _Sample:
    """Rows to compare, those of the day itself among them."""

    subject: Subject
    apps: Sequence[str]
    sessions: Sequence[str]
    days: Sequence[date]
    is_today: Bools
    rows: Floats

    def of(self, app: str) -> "_Sample":
        """Those of one application, or all."""
        if app == EVERY_APP:
            return self
        kept = np.flatnonzero(np.asarray(self.apps) == app).tolist()
        return _Sample(
            self.subject,
            [self.apps[i] for i in kept],
            [self.sessions[i] for i in kept],
            [self.days[i] for i in kept],
            self.is_today[kept],
            self.rows[kept],
        )

    @property
    def n_sessions(self) -> tuple[int, int]:
        """Sessions of the day, and of the days before."""
        names = np.asarray(self.sessions)
        return len(set(names[self.is_today])), len(set(names[~self.is_today]))


def measure_drift(
    stores: Stores, embedder: Embedder, settings: QualitySettings, day: date
) -> DriftReport:
    """Test the day's scores and requests against the `reference_days` before it, and store that.

    Scores are compared with those of the same judge only.
    """
    first = day - timedelta(days=settings.reference_days)
    samples = [_scores(stores, first, day), _requests(stores, embedder, first, day)]
    chosen: list[_Sample] = []
    why: dict[Subject, str] = {}
    for sample in samples:
        n_today, n_before = sample.n_sessions
        if n_today >= MIN_SESSIONS and n_before >= MIN_REFERENCE:
            chosen += [sample.of(app) for app in _apps(sample)]
        else:
            why[sample.subject] = (
                f"{n_today} sessions of the day and {n_before} of the days before it, and at least "
                f"{MIN_SESSIONS} and {MIN_REFERENCE} are needed"
            )
    alpha = settings.drift_alpha / max(1, len(chosen))
    names = [app for sample in samples if sample.subject not in why for app in _apps(sample)]
    tests = [_test(day, app, s, alpha) for app, s in zip(names, chosen, strict=True)]
    key = {"day": day}
    table = pa.Table.from_pylist([_row(test) for test in tests], schema=_ROWS)
    write_partition(stores, {"drift": (key, table)})
    return DriftReport(day, tests, why)


def _scores(stores: Stores, first: date, day: date) -> _Sample:
    with stores.warehouse.read() as connection:
        table = connection.table(
            "quality/drift_scores", first=first, day=day, most_sessions=MOST_SESSIONS
        )
    values = table["probability"].to_numpy()
    return _Sample(
        "scores",
        table["app"].to_pylist(),
        table["session"].to_pylist(),
        table["day"].to_pylist(),
        table["is_today"].to_numpy(),
        in_bins(values) if len(values) else np.empty((0, 1)),
    )


def _requests(stores: Stores, embedder: Embedder, first: date, day: date) -> _Sample:
    with stores.warehouse.read() as connection:
        days = connection.table("traces/days")["day"]
    within = pc.and_(pc.greater_equal(days, first), pc.less_equal(days, day))
    found = [vectors_of_day(stores, embedder, one) for one in days.filter(within).to_pylist()]
    found = [of_day for of_day in found if len(of_day.vectors)]
    return _Sample(
        "embeddings",
        [app for of_day in found for app in of_day.apps],
        [session for of_day in found for session in of_day.sessions],
        [of_day.day for of_day in found for _ in of_day.apps],
        np.array([of_day.day == day for of_day in found for _ in of_day.apps], bool),
        np.concatenate([of_day.vectors for of_day in found]).astype(np.float64)
        if found
        else np.empty((0, 1)),
    )


def _apps(sample: _Sample) -> Iterator[str]:
    """All together, and where there are several, the busiest that have sessions enough."""
    yield EVERY_APP
    names, counts = np.unique(np.asarray(sample.apps)[sample.is_today], return_counts=True)
    if len(set(sample.apps)) < 2:
        return
    for place in np.lexsort((names, -counts))[:N_APPS]:
        n_today, n_before = sample.of(str(names[place])).n_sessions
        if n_today >= MIN_SESSIONS and n_before >= MIN_REFERENCE:
            yield str(names[place])


def _test(day: date, app: str, sample: _Sample, alpha: float) -> DriftTest:
    statistics: dict[Subject, Statistic] = {"scores": stability, "embeddings": distance}
    statistic, p = permutation_test(
        sample.rows,
        sample.sessions,
        sample.is_today,
        statistics[sample.subject],
        permutations=math.ceil(_DRAWS_BELOW_ALPHA / alpha),
    )
    psi = statistic if sample.subject == "scores" else None
    before = [d for d, today in zip(sample.days, sample.is_today, strict=True) if not today]
    return DriftTest(
        day,
        app,
        sample.subject,
        statistic,
        psi,
        p,
        alpha,
        p < alpha and (psi is None or psi >= LEAST_PSI),
        int(sample.is_today.sum()),
        len(before),
        min(before),
        max(before),
    )


_ROWS = pa.schema(
    [
        ("day", pa.date32()),
        ("app", pa.string()),
        ("subject", pa.string()),
        ("statistic", pa.float64()),
        ("psi", pa.float64()),
        ("p_value", pa.float64()),
        ("alpha", pa.float64()),
        ("has_drifted", pa.bool_()),
        ("n", pa.int64()),
        ("n_reference", pa.int64()),
        ("first_reference_day", pa.date32()),
        ("last_reference_day", pa.date32()),
    ]
)


def _row(test: DriftTest) -> dict[str, object]:
    return {name: getattr(test, name) for name in _ROWS.names}

"""The rate of perceived errors, by application, day, release or metric, by every method there is.

Judged traces in, estimates with intervals out. The one to go by stands first: the judge's rate as
labels correct it; what the labels alone give and what the judge alone gives stand beside it. Of a
single day on a chart there is one estimate, by the first that the day's labels allow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from flywheel.errors import NotFound
from flywheel.quality.audit import counted, judged_traces
from flywheel.quality.estimators import (
    JUDGE_ONLY,
    LABELS_ONLY,
    MIN_RESPONSE_RATE,
    Outcome,
    outcomes_of,
    teachers_of,
)
from flywheel.records import Interval
from flywheel.statistics import share_of_sessions
from flywheel.store import Stores

__all__ = [
    "EVERY_APP",
    "JUDGE_ONLY",
    "LABELS_ONLY",
    "MIN_RESPONSE_RATE",
    "By",
    "RateEstimate",
    "daily_rates",
    "estimate_rates",
    "rates_of",
]

By = Literal["app", "day", "release", "metric"]

EVERY_APP = "*"
EVERY_RELEASE = "*"
METRIC = "perceived_error"
# Scores of which nobody labels whether they are right.
RAW = "share, unadjusted"
# With fewer, the interval of the labels alone may cover half of all rates.
MIN_LABELS_ALONE = 5


@dataclass(frozen=True, slots=True)
class RateEstimate:
    """The share of traces in which the user sees an error, or why there is no estimate of it.

    `method` is `ppi++` (uniform audit), `weighted` (labels drawn by unequal, known chances) or
    `rogan-gladen` (labels of unknown chance), and beside it `labels only` and `judge only,
    unadjusted`. `app` and `release` are `*` for all of them, and `release` is empty for traces that
    name none. Where `why` is not empty the three numbers are None. `response_rate` is decided /
    drawn of the items that the method rests on. Of another `metric` there is its share of yes,
    `share, unadjusted`, and `judge_version` is the version of the metric.
    """

    app: str
    method: str
    first_day: date
    last_day: date
    judge_version: str
    n_traces: int
    n_labels: int
    estimate: float | None
    low: float | None
    high: float | None
    response_rate: float | None = None
    why: str = ""
    release: str = EVERY_RELEASE
    metric: str = METRIC

    @property
    def interval(self) -> Interval | None:
        """The three numbers, where there is an estimate."""
        if self.estimate is None or self.low is None or self.high is None:
            return None
        return Interval(self.estimate, self.low, self.high)


def estimate_rates(
    stores: Stores,
    app: str | None = None,
    first: date | None = None,
    last: date | None = None,
    by: By = "app",
) -> list[RateEstimate]:
    """The rate of perceived errors by every method, the one to go by first.

    By `app`: of all applications together and of each. By `day` or `release`: of each day or
    release, of `app` or of all applications. By `metric`: of perceived errors, and beside it each
    metric that says yes or no of a trace.

    Raises NotFound where `app` has no judged trace in the days from `first` to `last`.
    """
    rows = judged_traces(stores, first, last)
    if by != "metric":
        return rates_of(rows, app, by)
    found = rates_of(rows, app)
    whole = [rate for rate in found if rate.app == (app or EVERY_APP)]
    return [*whole, *_other_metrics(stores, whole, app, first, last)]


def rates_of(rows: pa.Table, app: str | None = None, by: By = "app") -> list[RateEstimate]:
    """As `estimate_rates`, of rows that were read already."""
    own = counted(rows)
    apps = sorted(pc.unique(own["app"]).to_pylist())
    if app is not None and app not in apps:
        raise NotFound("judged app", app, apps)
    if not apps:
        return []
    if by == "app":
        days = pc.min_max(own["day"]).as_py()
        period = days["min"], days["max"]
        chosen = [EVERY_APP, *apps] if app is None else [app]
        return [rate for name in chosen for rate in _estimates(name, rows, own, period)]
    name = app or EVERY_APP
    of_app = _of_app(own, name)
    return [
        rate
        for group in sorted(pc.unique(of_app[by]).to_pylist())
        for part in [of_app.filter(pc.equal(of_app[by], group))]
        for rate in _estimates(
            name, rows, part, release=group if by == "release" else EVERY_RELEASE
        )
    ]


def daily_rates(rows: pa.Table, n_days: int, n_apps: int) -> list[RateEstimate]:
    """The rate of each of the last days, of all apps and of each of the busiest `n_apps`.

    `rows` are those of `judged_traces`. One estimate a day and app, `*` first: corrected by the
    day's labels where it can be, else of its audit labels alone, else the judge's own rate, as
    `method` says. With one app in the rows, that of all is left out.
    """
    rows = counted(rows)
    days = sorted(pc.unique(rows["day"]).to_pylist())[-n_days:]
    if not days:
        return []
    rows = rows.filter(pc.greater_equal(rows["day"], days[0]))
    per_app = rows.group_by("app").aggregate([([], "count_all")]).to_pylist()
    busiest = sorted(per_app, key=lambda row: (-row["count_all"], row["app"]))
    apps = [row["app"] for row in busiest[:n_apps]]
    chosen = [EVERY_APP, *apps] if len(per_app) > 1 else apps
    return [
        best
        for day in days
        for of_day in [rows.filter(pc.equal(rows["day"], day))]
        for app in chosen
        for best in _best(_estimates(app, of_day, of_day, (day, day)))
    ]


def _best(estimates: list[RateEstimate]) -> Iterator[RateEstimate]:
    """The first that there are enough labels for; nothing where the judge said nothing either."""
    for estimate in estimates:
        is_thin = estimate.method == LABELS_ONLY and estimate.n_labels < MIN_LABELS_ALONE
        if estimate.estimate is not None and not is_thin:
            yield estimate
            return


def _of_app(rows: pa.Table, app: str) -> pa.Table:
    return rows if app == EVERY_APP else rows.filter(pc.equal(rows["app"], app))


def _estimates(
    app: str,
    rows: pa.Table,
    part: pa.Table,
    period: tuple[date, date] | None = None,
    release: str = EVERY_RELEASE,
) -> list[RateEstimate]:
    """Every method's estimate of an app in a part of the rows; all of them may teach."""
    own = _of_app(part, app)
    if period is None:
        days = pc.min_max(own["day"]).as_py()
        period = days["min"], days["max"]
    versions = pc.unique(own["judge_version"]).to_pylist()
    version = versions[0] if len(versions) == 1 else f"{len(versions)} versions"
    found = outcomes_of(own, teachers_of(_of_app(rows, app), own))
    return [_as_estimate(app, period, version, release, outcome) for outcome in found]


def _as_estimate(
    app: str, period: tuple[date, date], version: str, release: str, outcome: Outcome
) -> RateEstimate:
    interval = outcome.interval
    low, estimate, high = (
        (None, None, None)
        if interval is None
        else (min(max(x, 0.0), 1.0) for x in (interval.low, interval.estimate, interval.high))
    )
    return RateEstimate(
        app,
        outcome.method,
        *period,
        version,
        outcome.n_traces,
        outcome.n_labels,
        estimate,
        low,
        high,
        outcome.response_rate,
        outcome.why,
        release,
    )


def _other_metrics(
    stores: Stores,
    whole: list[RateEstimate],
    app: str | None,
    first: date | None,
    last: date | None,
) -> Iterator[RateEstimate]:
    """The share of yes of each other metric, over the days of the estimates of the whole."""
    with stores.warehouse.read() as connection:
        found = connection.table("quality/metric_shares", app=app, first=first, last=last)
    for row in found.to_pylist():
        sums = row["n_squared"], row["n_by_yes"], row["yes_squared"]
        share = share_of_sessions(row["n"], row["yes"], row["n_sessions"], *sums)
        yield RateEstimate(
            app or EVERY_APP,
            RAW,
            row["first_day"],
            row["last_day"],
            row["metric_version"],
            row["n"],
            0,
            share.estimate,
            share.low,
            share.high,
            metric=row["metric"],
        )

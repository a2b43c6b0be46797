"""The rate of perceived errors of each app, by three methods, one of which can be believed.

Judged traces in, estimates with intervals out. The judge's rate, corrected by the audit, stands
first; what the labels alone give and what the judge alone gives stand beside it. Of a single day
there is one estimate, by the first of the three that the day's labels allow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel.errors import NotFound
from flywheel.quality.audit import (
    MIN_AUDIT_LABELS,
    Audit,
    audit_of,
    judged_traces,
    weighted_wilson,
)
from flywheel.records import Interval
from flywheel.statistics import ppi_mean, weighted_mean_estimate, wilson
from flywheel.store import Stores

EVERY_APP = "*"
LABELS_ONLY = "labels only"
JUDGE_ONLY = "judge only, unadjusted"
# Those who do not answer are not like those who do: beyond a fifth, no weight makes up for them.
MIN_RESPONSE_RATE = 0.8
# With none of 10 labels of an error at a true rate of .05, the intervals of PPI++ cover it in 39 of
# 100 cases; from 3 of either kind on, and by the labels alone below that, in 93 (simulated).
MIN_OF_EACH_KIND = 3
# With fewer, the interval of the labels alone may cover half of all rates.
MIN_LABELS_ALONE = 5


@dataclass(frozen=True, slots=True)
class RateEstimate:
    """The share of traces in which the user sees an error, or why there is no estimate of it.

    `method` is `ppi++` (uniform audit) or `weighted` (audit whose probability differs by day), and
    beside it `labels only` and `judge only, unadjusted`. `app` is `*` for all of them. Where `why`
    is not empty the three numbers are None. `response_rate` is decided / drawn of the audit items.
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

    @property
    def interval(self) -> Interval | None:
        """The three numbers, where there is an estimate."""
        if self.estimate is None or self.low is None or self.high is None:
            return None
        return Interval(self.estimate, self.low, self.high)


def estimate_rates(
    stores: Stores, app: str | None = None, first: date | None = None, last: date | None = None
) -> list[RateEstimate]:
    """The rate of perceived errors of each app, and of all, by three methods.

    Raises NotFound where `app` has no judged trace in the days from `first` to `last`.
    """
    return rates_of(judged_traces(stores, first, last), app)


def rates_of(rows: pa.Table, app: str | None = None) -> list[RateEstimate]:
    """As `estimate_rates`, of rows that were read already."""
    apps = sorted(pc.unique(rows["app"]).to_pylist())
    if app is None:
        chosen = [EVERY_APP, *apps] if apps else []
    elif app in apps:
        chosen = [app]
    else:
        raise NotFound("judged app", app, apps)
    return [estimate for name in chosen for estimate in _estimates(name, rows)]


def daily_rates(rows: pa.Table, n_days: int, n_apps: int) -> list[RateEstimate]:
    """The rate of each of the last days, of all apps and of each of the busiest `n_apps`.

    `rows` are those of `judged_traces`. One estimate a day and app, `*` first: corrected by the
    day's audit where it can be, else of its labels alone, else the judge's own rate, as `method`
    says. With one app in the rows, that of all is left out.
    """
    days = sorted(pc.unique(rows["day"]).to_pylist())[-n_days:]
    if not days:
        return []
    rows = rows.filter(pc.greater_equal(rows["day"], days[0]))
    counted = rows.group_by("app").aggregate([([], "count_all")]).to_pylist()
    busiest = sorted(counted, key=lambda row: (-row["count_all"], row["app"]))
    apps = [row["app"] for row in busiest[:n_apps]]
    chosen = [EVERY_APP, *apps] if len(counted) > 1 else apps
    return [
        best
        for day in days
        for of_day in [rows.filter(pc.equal(rows["day"], day))]
        for app in chosen
        for best in _best(_estimates(app, of_day))
    ]


def _best(estimates: list[RateEstimate]) -> Iterator[RateEstimate]:
    """The first that there are enough labels for; nothing where the judge said nothing either."""
    for estimate in estimates:
        is_thin = estimate.method == LABELS_ONLY and estimate.n_labels < MIN_LABELS_ALONE
        if estimate.estimate is not None and not is_thin:
            yield estimate
            return


def _estimates(app: str, rows: pa.Table) -> list[RateEstimate]:
    days = pc.min_max(rows["day"]).as_py()
    own = rows if app == EVERY_APP else rows.filter(pc.equal(rows["app"], app))
    versions = pc.unique(own["judge_version"]).to_pylist()
    audit = audit_of(own)

    def of(
        method: str, n_traces: int, n_labels: int, interval: Interval | None, why: str = ""
    ) -> RateEstimate:
        estimate, low, high = _as_shares(interval)
        return RateEstimate(
            app,
            method,
            days["min"],
            days["max"],
            versions[0] if len(versions) == 1 else f"{len(versions)} versions",
            n_traces,
            n_labels,
            estimate,
            low,
            high,
            audit.response_rate,
            why,
        )

    labels = audit.truth[audit.labelled]
    method, interval, why = _corrected(audit)
    estimates = [of(method, len(audit.truth), len(labels), interval, why)]
    if len(labels):
        weighted = weighted_wilson(labels, 1 / audit.chance[audit.labelled])
        estimates.append(of(LABELS_ONLY, len(audit.truth), len(labels), weighted))
    read = own["probability"].drop_null().to_numpy()
    flagged = wilson(float((read >= 0.5).sum()), len(read))
    if len(read):
        estimates.append(of(JUDGE_ONLY, len(read), 0, flagged))
    return estimates


def _corrected(audit: Audit) -> tuple[str, Interval | None, str]:
    """The judge's rate as the audit corrects it: method, interval, and why there is none."""
    method = "ppi++" if audit.is_uniform else "weighted"
    labelled = audit.labelled
    n, response = int(labelled.sum()), audit.response_rate
    if response is not None and response < MIN_RESPONSE_RATE:
        return (
            method,
            None,
            (
                f"{response:.0%} of the audit items are decided, and an estimate needs "
                f"{MIN_RESPONSE_RATE:.0%}: those left out may differ from the rest"
            ),
        )
    if n < MIN_AUDIT_LABELS:
        return method, None, f"{n} audit labels, and at least {MIN_AUDIT_LABELS} are needed"
    truth, judge = audit.truth, audit.judge
    errors = int(truth[labelled].sum())
    if min(errors, n - errors) < MIN_OF_EACH_KIND:
        return (
            method,
            None,
            (
                f"{errors} of the {n} audit labels are of an error, and the interval holds from "
                f"{MIN_OF_EACH_KIND} of either kind on"
            ),
        )
    if audit.is_uniform:
        few = truth[labelled].tolist(), judge[labelled].tolist()
        return method, ppi_mean(*few, judge.tolist()), ""
    return method, weighted_mean_estimate(truth, judge, audit.chance, audit.sessions), ""


def _as_shares(interval: Interval | None) -> tuple[float | None, float | None, float | None]:
    if interval is None:
        return None, None, None
    low, estimate, high = np.clip([interval.low, interval.estimate, interval.high], 0, 1).tolist()
    return estimate, low, high

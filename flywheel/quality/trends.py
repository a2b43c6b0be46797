"""How the estimates move: the rate by day, the judge and the reviewers by week, the queue's age.

Judged traces and the ledger in, rows with intervals out. A day is one of the traces, except where
it is that of a decision; a week is named by its Monday.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from numpy.typing import NDArray

from flywheel.quality.agreement import Agreement
from flywheel.quality.answers import Answer, agreement_on_errors
from flywheel.quality.audit import Audit, audit_of, weighted_wilson
from flywheel.quality.rates import MIN_LABELS_ALONE, RateEstimate, daily_rates
from flywheel.quality.resampling import draws_by_session, percentiles
from flywheel.queue.filters import not_undone
from flywheel.records import Interval
from flywheel.statistics import Floats
from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import decisions, queue_items

N_DAYS = 60
N_WEEKS = 26
# Each is a panel of a chart; the others are in the table of the whole time.
N_APPS = 4
# Lower edges in days; the last is open.
AGES = (0, 1, 3, 7, 14, 30)


@dataclass(frozen=True, slots=True)
class JudgeWeek:
    """How the judge fits the audit labels of one week's traces.

    `sensitivity` is of the `n_errors` that people saw, `specificity` of the `n_fine` others; None
    where there are fewer than 5.
    """

    week: date
    n_errors: int
    n_fine: int
    sensitivity: Interval | None
    specificity: Interval | None


@dataclass(frozen=True, slots=True)
class AgreementWeek:
    """How reviewers agreed on perceived errors, on the items that they finished in a week."""

    week: date
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class AgeGroup:
    """How many open items have waited from `low_days` to just under `high_days`."""

    low_days: int
    high_days: int | None
    waiting: int
    disputed: int


@dataclass(frozen=True, slots=True)
class AgeDay:
    """How many days old items were when people decided on them on one day: the quartiles."""

    day: date
    n_items: int
    low_days: float
    median_days: float
    high_days: float


@dataclass(frozen=True, slots=True)
class Trends:
    """Everything that the quality page draws."""

    rates: list[RateEstimate]
    judge: list[JudgeWeek]
    agreement: list[AgreementWeek]
    waiting: list[AgeGroup]
    decided: list[AgeDay]


def measure_trends(
    rows: pa.Table, ledger: Ledger, answers: Sequence[Answer], at: datetime
) -> Trends:
    """All trends until `at`; `rows` are those of `judged_traces`."""
    return Trends(
        daily_rates(rows, N_DAYS, N_APPS),
        judge_by_week(rows),
        agreement_by_week(answers),
        waiting_by_age(ledger, at),
        age_at_decision(ledger, at),
    )


def judge_by_week(rows: pa.Table) -> list[JudgeWeek]:
    """Sensitivity and specificity of the verdicts in use, on the audit labels of each week."""
    rows = rows.filter(pc.is_valid(rows["probability"]))
    weeks = pc.cast(pc.floor_temporal(rows["day"], unit="week"), pa.date32())
    names = sorted(pc.unique(weeks).to_pylist())[-N_WEEKS:]
    audits = ((week, audit_of(rows.filter(pc.equal(weeks, week)))) for week in names)
    return [_judged(week, audit) for week, audit in audits if audit.labelled.any()]


def _judged(week: date, audit: Audit) -> JudgeWeek:
    labelled = audit.labelled
    is_error, is_flagged = audit.truth[labelled] == 1.0, audit.judge[labelled] >= 0.5
    weight, sessions = 1 / audit.chance[labelled], audit.sessions[labelled]

    def share(of: NDArray[np.bool_], right: NDArray[np.bool_]) -> Interval | None:
        if of.sum() < MIN_LABELS_ALONE:
            return None
        return _share(right[of].astype(float), weight[of], sessions[of])

    return JudgeWeek(
        week,
        int(is_error.sum()),
        int((~is_error).sum()),
        share(is_error, is_flagged),
        share(~is_error, ~is_flagged),
    )


def _share(right: Floats, weight: Floats, sessions: NDArray[np.int64]) -> Interval:
    """A weighted share, by Wilson; where sessions repeat, by drawing sessions again."""
    codes = np.unique(sessions, return_inverse=True)[1]
    if codes.max() + 1 == len(right):
        return weighted_wilson(right, weight)
    if right.min() == right.max():
        # All are alike, so that the draws would be too: a session is one witness.
        by_session = np.asarray(np.bincount(codes, weight), float)
        return weighted_wilson(np.full(len(by_session), right[0]), by_session)
    sums = draws_by_session(np.stack([weight * right, weight], axis=1), [str(c) for c in codes])
    return percentiles(float(np.average(right, weights=weight)), sums[:, 0] / sums[:, 1])


def agreement_by_week(answers: Sequence[Answer]) -> list[AgreementWeek]:
    """How reviewers agreed in each week; an item counts in that of its last decision."""
    last: dict[tuple[str, str], datetime] = {}
    for answer in answers:
        last[answer.item] = max(answer.decided_at, last.get(answer.item, answer.decided_at))
    by_week: defaultdict[date, list[Answer]] = defaultdict(list)
    for answer in answers:
        day = last[answer.item].astimezone(UTC).date()
        by_week[day - timedelta(days=day.weekday())].append(answer)
    return [
        AgreementWeek(week, agreement_on_errors(by_week[week]))
        for week in sorted(by_week)[-N_WEEKS:]
    ]


def waiting_by_age(ledger: Ledger, at: datetime) -> list[AgeGroup]:
    """The open items by how long they have waited, the youngest first; all groups are there."""
    with ledger.read() as connection:
        found = connection.execute(
            sa.select(*queue_items.c["queued_at", "status"]).where(
                queue_items.c.status.in_(("pending", "disputed"))
            )
        ).all()
    ages = np.array([_days(row.queued_at, at) for row in found])
    disputed = np.array([row.status == "disputed" for row in found], bool)
    groups = np.digitize(ages, AGES[1:])
    return [
        AgeGroup(
            low,
            AGES[group + 1] if group + 1 < len(AGES) else None,
            int(((groups == group) & ~disputed).sum()),
            int(((groups == group) & disputed).sum()),
        )
        for group, low in enumerate(AGES)
    ]


def age_at_decision(ledger: Ledger, at: datetime) -> list[AgeDay]:
    """How old items were when they were finished, by the day of the last decision on them.

    Decisions from a file are left out: their time is not that of this queue.
    """
    last = sa.func.max(decisions.c.decided_at)
    finished = (
        sa.select(queue_items.c.queued_at, last)
        .join(
            decisions,
            sa.and_(
                decisions.c.trace_id == queue_items.c.trace_id,
                decisions.c.content_hash == queue_items.c.content_hash,
            ),
        )
        .where(
            queue_items.c.status == "complete",
            decisions.c.kind.in_(("decide", "adjudicate")),
            decisions.c.import_key.is_(None),
            not_undone(),
        )
        .group_by(*queue_items.c["item_id", "queued_at"])
        .having(last >= at - timedelta(days=N_DAYS))
    )
    by_day: defaultdict[date, list[float]] = defaultdict(list)
    with ledger.read() as connection:
        for queued_at, decided_at in connection.execute(finished):
            age = _days(queued_at, decided_at)
            by_day[in_utc(decided_at).date()].append(max(0.0, age))
    return [_aged(day, ages) for day, ages in sorted(by_day.items())]


def _aged(day: date, ages: Sequence[float]) -> AgeDay:
    low, middle, high = np.percentile(ages, [25, 50, 75]).tolist()
    return AgeDay(day, len(ages), low, middle, high)


def _days(since: datetime, until: datetime) -> float:
    return (in_utc(until) - in_utc(since)) / timedelta(days=1)

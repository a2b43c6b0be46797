"""How much people get done, and how much is left to do.

Decisions and queue items of the ledger in, counts out; only what nobody took back is counted.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Literal

import sqlalchemy as sa

from flywheel.queue.filters import not_undone
from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import decisions, queue_items

Period = Literal["today", "week", "ever"]

# Of each reviewer, for the median: more of them would hide that somebody got faster.
LAST_DECISIONS = 500
_OPEN = ("pending", "disputed")


@dataclass(frozen=True, slots=True)
class Tally:
    """What was done in a period: decided is with adjudicated, and corrected is part of it."""

    decided: int = 0
    corrected: int = 0
    skipped: int = 0
    declined: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """What one reviewer did today (UTC), in the last 7 days and ever.

    `median_seconds` is that of the last 500 decisions whose time is known.
    """

    reviewer: str
    by_period: Mapping[Period, Tally]
    median_seconds: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of the items of a queue, or of a day of traces, people have dealt with."""

    of: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Throughput:
    """What people did and what is left: by reviewer, by queue and by the day of the traces.

    `by_reviewer` has who decided most first, `by_day` the newest day first. `oldest_open` is when
    the item that waits longest was queued; `disputed` counts the items that wait for adjudication.
    """

    by_reviewer: list[Work]
    by_queue: list[Progress]
    by_day: list[Progress]
    open_items: int
    disputed: int
    oldest_open: datetime | None

    def total(self, period: Period) -> Tally:
        """What all reviewers did together."""
        tallies = [work.by_period[period] for work in self.by_reviewer]
        return Tally(
            sum(tally.decided for tally in tallies),
            sum(tally.corrected for tally in tallies),
            sum(tally.skipped for tally in tallies),
            sum(tally.declined for tally in tallies),
        )


def measure_throughput(ledger: Ledger, at: datetime) -> Throughput:
    """What people have done until `at`, and what is left to do."""
    by_queue: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    by_day: defaultdict[date, list[int]] = defaultdict(lambda: [0, 0])
    n_open = disputed = 0
    with ledger.read() as connection:
        tallies = {period: _tallies(connection, since) for period, since in _periods(at)}
        seconds = _seconds(connection)
        oldest = connection.execute(
            sa.select(sa.func.min(queue_items.c.queued_at)).where(queue_items.c.status.in_(_OPEN))
        ).scalar_one()
        kinds = queue_items.c["queue", "day", "status"]
        counted = sa.select(*kinds, sa.func.count().label("n")).group_by(*kinds)
        items = connection.execute(counted).all()
    for queue, day, status, n in (tuple(row) for row in items):
        n_open += n if status in _OPEN else 0
        disputed += n if status == "disputed" else 0
        for counts in (by_queue[queue], by_day[day]):
            counts[0] += 0 if status in _OPEN else n
            counts[1] += n
    return Throughput(
        [
            Work(
                reviewer,
                {period: of.get(reviewer, Tally()) for period, of in tallies.items()},
                median(seconds[reviewer]) if reviewer in seconds else None,
            )
            for reviewer in sorted(tallies["ever"], key=lambda r: (-tallies["ever"][r].decided, r))
        ],
        [Progress(queue, *counts) for queue, counts in sorted(by_queue.items())],
        [
            Progress(day.isoformat(), *counts)
            for day, counts in sorted(by_day.items(), reverse=True)
        ],
        n_open,
        disputed,
        in_utc(oldest) if oldest else None,
    )


def _periods(at: datetime) -> list[tuple[Period, datetime]]:
    today = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [
        ("today", today),
        ("week", at - timedelta(days=7)),
        ("ever", datetime(1, 1, 1, tzinfo=UTC)),
    ]


def _tallies(connection: sa.Connection, since: datetime) -> dict[str, Tally]:
    is_decision = decisions.c.kind.in_(("decide", "adjudicate"))
    is_corrected = sa.or_(
        decisions.c.corrected_text.is_not(None), decisions.c.corrected_tool_calls.is_not(None)
    )
    rows = connection.execute(
        sa.select(
            decisions.c.reviewer,
            _count(is_decision),
            _count(sa.and_(is_decision, is_corrected)),
            _count(decisions.c.kind == "skip"),
            _count(decisions.c.kind == "decline"),
        )
        .where(decisions.c.decided_at >= since, decisions.c.kind != "undo", not_undone())
        .group_by(decisions.c.reviewer)
    )
    return {reviewer: Tally(*counts) for reviewer, *counts in rows}


def _seconds(connection: sa.Connection) -> dict[str, list[float]]:
    """The seconds that each reviewer took for the last decisions of a known time."""
    newest = (
        sa.func.row_number()
        .over(partition_by=decisions.c.reviewer, order_by=decisions.c.decision_id.desc())
        .label("newest")
    )
    timed = (
        sa.select(*decisions.c["reviewer", "seconds"], newest)
        .where(decisions.c.kind == "decide", decisions.c.seconds.is_not(None), not_undone())
        .subquery()
    )
    found: defaultdict[str, list[float]] = defaultdict(list)
    last = sa.select(*timed.c["reviewer", "seconds"]).where(timed.c.newest <= LAST_DECISIONS)
    for reviewer, seconds in connection.execute(last):
        found[reviewer].append(seconds)
    return dict(found)


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)

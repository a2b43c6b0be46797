"""How often a failure mode comes, of late and before.

The judged conversations of some days and those that are of a mode in, shares with intervals out.
The one idea is that a mode rises where the interval of the difference says so, and not where a
count does.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from flywheel.records import Interval
from flywheel.statistics import Estimated, Floats, corrected_rate, rate_difference
from flywheel.store import Stores

Trend = Literal["rising", "falling", "steady", "unknown"]
RECENT_DAYS = 7
# Sessions on each side, below which an interval says nothing.
_LEAST_SESSIONS = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """All conversations of the days that could have been flagged, by place.

    `place` has that of each trace id; `weight` is 0 for a flagged one that was not drawn, and more
    than 1 for those that were, so that they stand for all.
    """

    place: dict[str, int]
    days: NDArray[np.datetime64]
    sessions: NDArray[np.int64]
    weight: Floats
    last: date

    @property
    def is_recent(self) -> NDArray[np.bool_]:
        """Which of them are of the last seven days."""
        since = self.last - timedelta(days=RECENT_DAYS - 1)
        return np.asarray(self.days >= np.datetime64(since))


@dataclass(frozen=True, slots=True)
class Frequency:
    """The share of conversations that are of a mode, and how it has changed.

    `before` and `change` (recent less before) are None where either side has too few sessions.
    """

    recent: Interval | None
    before: Interval | None
    change: Interval | None
    trend: Trend


def read_judged(stores: Stores, first: date, last: date, drawn: set[str], n_flagged: int) -> Judged:
    """The judged conversations of the days, of which `drawn` stand for all that are flagged."""
    with stores.warehouse.read() as connection:
        rows = connection.table("evolution/judged_of_days", first=first, last=last)
    ids = rows["trace_id"].to_pylist()
    stands_for = n_flagged / len(drawn) if drawn else 1.0
    is_drawn = np.array([trace_id in drawn for trace_id in ids], bool)
    is_flagged = rows["is_flagged"].to_numpy()
    weight = np.where(is_drawn, stands_for, np.where(is_flagged, 0.0, 1.0))
    return Judged(
        {trace_id: place for place, trace_id in enumerate(ids)},
        rows["day"].to_numpy().astype("datetime64[D]"),
        np.asarray(pc.dictionary_encode(rows["session"]).combine_chunks().indices, np.int64),
        weight,
        last,
    )


def frequency(judged: Judged, traces: set[str]) -> Frequency:
    """How often these conversations came, in the last seven days and in those before."""
    is_of = np.zeros(len(judged.weight))
    is_of[[judged.place[one] for one in traces if one in judged.place]] = 1.0
    counts, recent = judged.weight > 0, judged.is_recent
    late, early = (_rate(judged, is_of, side) for side in (counts & recent, counts & ~recent))
    change = rate_difference(early, late) if late and early else None
    return Frequency(
        late.interval if late else None,
        early.interval if early else None,
        change,
        _trend(change),
    )


def _rate(judged: Judged, is_of: Floats, side: NDArray[np.bool_]) -> Estimated | None:
    """The weighted share of one side; None where it has too few sessions."""
    sessions = judged.sessions[side]
    if len(np.unique(sessions)) < _LEAST_SESSIONS:
        return None
    return corrected_rate(is_of[side], np.zeros(len(sessions)), judged.weight[side], sessions)


def by_week(days: list[date], last: date, n_weeks: int) -> tuple[int, ...]:
    """How many of the days fall in each week, the last one ending with `last`."""
    counts = [0] * n_weeks
    for day in days:
        back = (last - day).days // RECENT_DAYS
        if 0 <= back < n_weeks:
            counts[n_weeks - 1 - back] += 1
    return tuple(counts)


def _trend(change: Interval | None) -> Trend:
    if change is None:
        return "unknown"
    if change.low > 0:
        return "rising"
    return "falling" if change.high < 0 else "steady"

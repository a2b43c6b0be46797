"""A judge in the shadow: it reads what the champion reads, and nobody acts on what it says.

Traces in, `shadow_scores` out. The one idea is that a shadow goes the way of a champion, tier by
tier, and that its word is kept where neither estimates, nor the queue, nor alerts look.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import pyarrow as pa

from flywheel.judge.judge import Judge
from flywheel.judge.reading import DayReading, TierProgress
from flywheel.judge.score_rows import TierRows
from flywheel.judge.scoring import no_tier_progress
from flywheel.records import TIERS
from flywheel.store import Stores
from flywheel.store.snapshots import write_partition
from flywheel.traces.applications import EVERY, Applications


@dataclass(frozen=True, slots=True)
class Shadow:
    """A judge beside the champion of a target, and the applications that it reads."""

    target: str
    judge: Judge
    applications: Applications = EVERY


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What a shadow did with a day: of `attempted` traces it has a word on `scored`."""

    day: date
    target: str
    judge_version: str
    attempted: int
    scored: int
    from_cache: int


def score_shadow(
    stores: Stores, shadow: Shadow, day: date, progress: TierProgress = no_tier_progress
) -> ShadowReport:
    """Read a day in the shadow; replaces what this version said of the day before.

    By the tiers that a champion reads with, each trace by the highest that its own thresholds leave
    it to. No generative judge is asked.
    """
    reading = DayReading(stores, shadow.judge, day, progress, 0.0, shadow.applications)
    said = pa.concat_tables([_said(rows) for rows in reading.read()])
    with stores.warehouse.read() as connection, connection.given(said=said):
        rows = connection.table("judge/shadow_rows", day=day)
    key = {"day": day, "target": shadow.target, "judge_version": shadow.judge.version}
    same = key | {"scored_at": datetime.now(UTC).replace(tzinfo=None)}
    for name, value in same.items():
        rows = rows.append_column(name, pa.repeat(pa.scalar(value), len(rows)))
    write_partition(stores, {"shadow_scores": (key, rows)})
    version = shadow.judge.version
    return ShadowReport(
        day, shadow.target, version, reading.attempted, len(rows), reading.from_cache
    )


def _said(rows: TierRows) -> pa.Table:
    """The words of a tier, with its height."""
    table = rows.table.select(["trace_id", "content_hash", "label", "probability"])
    for name, value in (("tier", rows.tier), ("height", TIERS.index(rows.tier))):
        table = table.append_column(name, pa.repeat(pa.scalar(value), len(table)))
    return table

"""Days: the partitions of what happens daily, in UTC, and the loop of a run over its days.

A project's first day in, partitions up to today out; the one idea is that a run takes any number of
days in turn, so that a backfill of a year is one run, and each day still has facts of its own.
"""

import os
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from flywheel.judge.scoring import TierProgress
from flywheel.records import Tier
from flywheel.settings import ProjectSettings, read_settings
from flywheel.store import Stores
from flywheel.traces.importing import days_with_traces

# Between two lines of a run's log on how far it is.
_TOLD_EVERY_S = 15.0


def first_day(folder: str | None) -> date:
    """The first day that the project in `folder` offers; the default of the setting without one."""
    return read_settings(Path(folder)).project.first_day if folder else ProjectSettings().first_day


# Today is one of them: traces without times are of the day they were imported on.
DAILY = dg.DailyPartitionsDefinition(
    first_day(os.environ.get("FLYWHEEL_PROJECT")).isoformat(), timezone="UTC", end_offset=1
)


def each_day(
    context: dg.AssetExecutionContext, stores: Stores, work: Callable[[date], Mapping[str, Any]]
) -> dg.MaterializeResult:
    """Work on the days of the run, oldest first; what `work` returns is metadata of its day.

    A day without traces costs nothing, since most of a first backfill's days may be before them.
    """
    present = set(days_with_traces(stores))
    for day in map(date.fromisoformat, context.partition_keys):
        done = work(day) if day in present else {"traces": 0}
        context.add_asset_metadata(done, partition_key=day.isoformat())
        if day in present:
            context.log.info(f"{day} is done")
    return dg.MaterializeResult()


def told_of_tiers(context: dg.AssetExecutionContext) -> TierProgress:
    """How far each tier of the judge is, now and then, and when it ends, in the run's log."""
    last = time.monotonic()

    def tell(tier: Tier, done: int, total: int) -> None:
        nonlocal last
        if done >= total or time.monotonic() - last >= _TOLD_EVERY_S:
            last = time.monotonic()
            context.log.info(f"{tier}: {done:,} of {total:,} traces")

    return tell

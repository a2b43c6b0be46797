"""How a generative judge was measured against labels, kept in the ledger under its opinions' name.

A calibration and certified thresholds in, the newest of them out, one for each fitted judge that it
works behind. A fitted judge carries its own in its files; a generative one has no files, so that
what labels say of it stands here.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from types import MappingProxyType

import sqlalchemy as sa

from flywheel.judge.calibration import Calibration
from flywheel.judge.cascade import Thresholds, thresholds_of
from flywheel.store.ledger import Ledger, in_utc, now
from flywheel.store.tables import judge_calibrations


@dataclass(frozen=True, slots=True)
class StoredCalibration:
    """What labels say of a judge; `thresholds` is None where they certify nothing.

    `about` says on what it was fitted: `after` is the fitted judge before it, and `apps` are the
    applications whose labels these are, where they are not all but those with a judge of their own.
    """

    calibration: Calibration
    thresholds: Thresholds | None
    n_labels: int
    fitted_at: datetime
    about: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def after(self) -> str:
        """The fitted judge behind which it was measured; empty where that is not known."""
        return str(self.about.get("after", ""))


def stored_calibration(ledger: Ledger, opinion_version: str) -> StoredCalibration | None:
    """The newest calibration of these opinions on all that no other judge reads.

    None where they were never calibrated so.
    """
    found = stored_calibrations(ledger, opinion_version)
    return next((one for one in found if not one.about.get("apps")), None)


def stored_calibrations(ledger: Ledger, opinion_version: str) -> list[StoredCalibration]:
    """The newest calibration of these opinions behind each fitted judge, the newest first."""
    table = judge_calibrations
    stored = (
        sa.select(table)
        .where(table.c.judge_version == opinion_version)
        .order_by(table.c.calibration_id.desc())
    )
    with ledger.read() as connection:
        rows = connection.execute(stored).all()
    found: dict[str, StoredCalibration] = {}
    for row in rows:
        body = json.loads(row.body)
        one = StoredCalibration(
            Calibration(**body["calibration"]),
            thresholds_of(body["thresholds"]) if body["thresholds"] else None,
            row.n_labels,
            in_utc(row.fitted_at),
            body["about"],
        )
        found.setdefault(one.after, one)
    return list(found.values())


def store_calibration(
    ledger: Ledger,
    opinion_version: str,
    calibration: Calibration,
    thresholds: Thresholds | None,
    n_labels: int,
    about: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Keep what labels say of these opinions; earlier rows stay, and the newest one counts."""
    body = {
        "calibration": asdict(calibration),
        "thresholds": asdict(thresholds) if thresholds else None,
        "about": dict(about),
    }
    row = {
        "judge_version": opinion_version,
        "body": json.dumps(body, sort_keys=True),
        "n_labels": n_labels,
        "fitted_at": now(),
    }
    with ledger.begin() as connection:
        connection.execute(judge_calibrations.insert(), row)

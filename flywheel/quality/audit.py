"""The traces that an estimate speaks of, and the uniform labels among them.

Judged traces of the warehouse and items of the ledger in, arrays out; the one idea is that a label
counts by the chance it had of being drawn.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from numpy.typing import NDArray

from flywheel.queue import AUDIT
from flywheel.records import Interval
from flywheel.statistics import Floats, wilson
from flywheel.store import Stores
from flywheel.store.ledger import Ledger
from flywheel.store.tables import queue_items

# PPI++ fits its weight on one half of them at a time: five pairs are the least that show a slope.
MIN_AUDIT_LABELS = 10


@dataclass(frozen=True, slots=True)
class Audit:
    """The traces that an estimate speaks of, and the uniform labels among them.

    Arrays of shape (n_traces,): `truth` is NaN where there is no audit label, `chance` of having
    one is NaN there too.
    """

    truth: Floats
    judge: Floats
    chance: Floats
    sessions: NDArray[np.int64]
    response_rate: float | None
    is_uniform: bool

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which of the traces have an audit label."""
        return ~np.isnan(self.truth)


def judged_traces(stores: Stores, first: date | None = None, last: date | None = None) -> pa.Table:
    """Every current, eligible trace with a verdict, with its label and audit where it has them."""
    queued = _queued(stores.ledger)
    with stores.warehouse.open() as connection, connection.given(queued=queued):
        return connection.table("quality/judged_traces", first=first, last=last)


def _queued(ledger: Ledger) -> pa.Table:
    """All items, whatever their queue; `audit_probability` only where the audit drew them."""
    columns = queue_items.c["day", "trace_id", "content_hash", "audit_probability", "reason"]
    with ledger.begin() as connection:
        rows = connection.execute(sa.select(*columns)).all()
    return pa.table(
        {
            "day": pa.array([row.day for row in rows], pa.date32()),
            "trace_id": pa.array([row.trace_id for row in rows], pa.string()),
            "content_hash": pa.array([row.content_hash for row in rows], pa.string()),
            "audit_probability": pa.array(
                [row.audit_probability if row.reason == AUDIT else None for row in rows],
                pa.float64(),
            ),
        }
    )


def audit_of(rows: pa.Table) -> Audit:
    """The queue's audit labels, or those that came as audits from a file where they are more.

    The queue's speak of the days that it drew from, each at its day's probability times the share
    of items decided; those of a file are taken at their word to be uniform over all days.
    """
    truth = rows["perceived_error"].cast(pa.float64()).to_numpy()
    chance = rows["audit_probability"].to_numpy()
    # Any score will do for a correction, so a verdict that could not be read stands at one half.
    judge = rows["probability"].fill_null(0.5).to_numpy()
    sessions = pc.dictionary_encode(rows["session"].combine_chunks()).indices.to_numpy()
    drawn, has_label = ~np.isnan(chance), ~np.isnan(truth)
    response = float((drawn & has_label).sum() / drawn.sum()) if drawn.any() else None
    from_file = has_label & ~drawn & rows["is_audit"].to_numpy()
    if from_file.sum() > (drawn & has_label).sum():
        labelled, members = from_file, np.ones(len(truth), bool)
        chance = np.full(len(truth), from_file.mean())
        is_uniform = True
    else:
        labelled, members = drawn & has_label, rows["is_queued_day"].to_numpy()
        is_uniform = bool(np.ptp(chance[drawn]) < 1e-9) if drawn.any() else True
        chance = chance * (response or 1.0)
    is_alone = len(np.unique(sessions[labelled])) == labelled.sum()
    return Audit(
        np.where(labelled, truth, np.nan)[members],
        judge[members],
        np.where(labelled, chance, np.nan)[members],
        sessions[members].astype(np.int64),
        response,
        # PPI++ takes traces as independent; the weighted form adds up sessions.
        is_uniform and is_alone,
    )


def weighted_wilson(labels: Floats, weight: Floats) -> Interval:
    """Wilson's interval at the effective number of labels, (sum w)^2 / sum w^2 (Kish 1965)."""
    n = float(weight.sum() ** 2 / (weight**2).sum())
    return wilson(float(np.average(labels, weights=weight)) * n, n)

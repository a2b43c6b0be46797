"""The traces that an estimate speaks of, and the labels among them by how they came to be.

Judged traces of the warehouse and items of the ledger in, arrays out; the one idea is that a label
counts by the chance it had of being drawn: the same for all of them, known, or unknown.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from numpy.typing import NDArray

from flywheel.models.engine import Precision, version_in
from flywheel.models.folders import adapter_called
from flywheel.queue import AUDIT, UNDRAWN_QUEUES, UNDRAWN_REASONS
from flywheel.records import Interval
from flywheel.statistics import Floats, wilson
from flywheel.store import Stores
from flywheel.store.ledger import Ledger
from flywheel.store.tables import queue_items, versions
from flywheel.store.warehouse import Connection

# With fewer, an interval of a rate spans half of all rates.
MIN_AUDIT_LABELS = 10
# The key of a version's manifest that lists the labels of its training set.
FITTED_ON = "corrections"
_OPEN = ("pending", "disputed")


@dataclass(frozen=True, slots=True)
class Audit:
    """The traces that an estimate speaks of, and the labels among them that were drawn for it.

    Arrays of shape (n_traces,): `truth` is NaN where there is no such label, `chance` of having one
    is NaN there too. `is_uniform` says that all chances are the same.
    """

    truth: Floats
    judge: Floats
    chance: Floats
    sessions: NDArray[np.int64]
    response_rate: float | None
    is_uniform: bool

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which of the traces have a label."""
        return ~np.isnan(self.truth)

    @property
    def n_labels(self) -> int:
        """How many of the traces have a label."""
        return int(self.labelled.sum())

    @property
    def weight(self) -> Floats:
        """1 / chance of the labelled traces, 0 for the others."""
        return np.where(self.labelled, 1 / np.where(self.labelled, self.chance, 1.0), 0.0)


def judged_traces(stores: Stores, first: date | None = None, last: date | None = None) -> pa.Table:
    """Every current, eligible trace with a verdict, with its label and chance where it has them.

    `is_counted` are those of the days; beside them stand traces of other days with a label whose
    chance is unknown. Of a day of which its judge had learnt any label there is only the holdout.
    `session` is a dictionary and `row` a number, so that parts of the rows name both alike.
    """
    with stores.warehouse.read() as connection, what_was_asked(stores, connection):
        rows = connection.table("quality/judged_traces", first=first, last=last)
    place = rows.column_names.index("session")
    sessions = rows["session"].combine_chunks().dictionary_encode()
    rows = rows.set_column(place, "session", sessions)
    return rows.append_column("row", pa.array(np.arange(rows.num_rows)))


def counted(rows: pa.Table) -> pa.Table:
    """The traces that a rate is of."""
    return rows.filter(rows["is_counted"])


def of_unknown_chance(rows: pa.Table) -> pa.Table:
    """The traces with a label that nobody drew by a known chance, a panel's queue left out.

    People are asked about those because judges disagree on them, so that a judge errs there as it
    does nowhere else.
    """
    is_known = pc.or_(pc.is_valid(rows["draw_probability"]), pc.is_valid(rows["given_probability"]))
    has_label = pc.is_valid(rows["perceived_error"])
    left_out = pc.or_(pc.or_(is_known, rows["is_audit"]), rows["is_of_panel"])
    return rows.filter(pc.and_(has_label, pc.invert(left_out)))


def session_codes(rows: pa.Table) -> NDArray[np.int64]:
    """A number for the session of each row; the same in all parts of what was read together."""
    return np.asarray(rows["session"].combine_chunks().indices.to_numpy(), np.int64)


@contextmanager
def what_was_asked(stores: Stores, connection: Connection) -> Iterator[None]:
    """The relations `queued` and `learnt`, for statements in the block.

    `queued` has what people were asked and by what chance, `learnt` the traces whose labels each
    judge was fitted, calibrated or certified on.
    """
    queued, fitted = queued_items(stores.ledger), _fitted_labels(stores.ledger)
    with connection.given(fitted=fitted):
        learnt = connection.table("quality/learnt_traces")
    with connection.given(queued=queued, learnt=learnt):
        yield


def _fitted_labels(ledger: Ledger) -> pa.Table:
    """One row a reader and a label that it was fitted on, from the manifests of versions.

    A reader is a part of a run's name: a judge, which is registered in float32 and may read in
    other numbers under a name of their own, or the adapter of a causal one.
    """
    with ledger.read() as connection:
        # Of every target: an application may have a judge of its own.
        rows = connection.execute(sa.select(versions.c.version, versions.c.manifest)).all()
    manifests = [(row.version, json.loads(row.manifest)) for row in rows]
    pairs = [
        (reader, label)
        for version, manifest in manifests
        for label in manifest.get(FITTED_ON, ())
        for reader in _readers(version, manifest.get("target_kind", ""))
    ]
    names, labels = zip(*pairs, strict=True) if pairs else ((), ())
    return pa.table(
        {
            "judge": pa.array(names, pa.string()),
            "correction_id": pa.array([str(label) for label in labels], pa.string()),
        }
    )


def _readers(version: str, target_kind: str) -> list[str]:
    """What a version is called in the name of a run; causal ones say of what kind they are."""
    if target_kind:
        return [adapter_called(version)]
    return [version_in(version, precision) for precision in get_args(Precision)]


def queued_items(ledger: Ledger) -> pa.Table:
    """All items; `audit_probability` only where the audit drew them.

    What a panel, a complaint or an engineer handed over is `is_panel`, and has no chance at all.
    """
    columns = ("day", "trace_id", "content_hash", "draw_probability", "audit_probability")
    with ledger.read() as connection:
        found = sa.select(*queue_items.c[(*columns, "reason", "status", "queue")])
        rows = connection.execute(found).all()
    of_panel = [row.queue in UNDRAWN_QUEUES or row.reason in UNDRAWN_REASONS for row in rows]
    own = [None if other else row for row, other in zip(rows, of_panel, strict=True)]
    drawn = [row and row.draw_probability for row in own]
    audited = [row.audit_probability if row and row.reason == AUDIT else None for row in own]
    return pa.table(
        {
            "day": pa.array([row.day for row in rows], pa.date32()),
            "trace_id": pa.array([row.trace_id for row in rows], pa.string()),
            "content_hash": pa.array([row.content_hash for row in rows], pa.string()),
            "draw_probability": pa.array(drawn, pa.float64()),
            "audit_probability": pa.array(audited, pa.float64()),
            "is_open": pa.array([row.status in _OPEN for row in rows], pa.bool_()),
            "is_panel": pa.array(of_panel, pa.bool_()),
        }
    )


def audit_of(rows: pa.Table) -> Audit:
    """The queue's audit labels, or those that came as audits from a file where they are more.

    The queue's speak of the days that it drew from, each at its day's probability times the share
    of items decided; those of a file are taken at their word to be uniform over all days.
    """
    truth, chance = _labels(rows), rows["audit_probability"].to_numpy()
    drawn, has_label = ~np.isnan(chance), ~np.isnan(truth)
    from_file = has_label & ~drawn & rows["is_audit"].to_numpy()
    if from_file.sum() > (drawn & has_label).sum():
        alike = np.full(len(truth), from_file.mean())
        return _members(rows, from_file, alike, np.ones(len(truth), bool), _share(drawn, has_label))
    response = _share(drawn, has_label)
    is_member = rows["is_queued_day"].to_numpy()
    return _members(rows, drawn & has_label, chance * (response or 1.0), is_member, response)


def drawn_of(rows: pa.Table) -> Audit:
    """All labels of known chance: of the closed days, audits and targeted, or more from a file.

    A day is closed where no item that the queue drew from it is open. Those of a file are taken at
    their word.
    """
    truth, chance = _labels(rows), rows["draw_probability"].to_numpy()
    has_label, is_closed = ~np.isnan(truth), rows["is_closed_day"].to_numpy()
    drawn, given = ~np.isnan(chance) & is_closed, rows["given_probability"].to_numpy()
    from_file = has_label & ~np.isnan(given)
    if from_file.sum() > (drawn & has_label).sum():
        return _members(rows, from_file, given, np.ones(len(truth), bool), None)
    response = _share(drawn, has_label)
    return _members(rows, drawn & has_label, chance * (response or 1.0), is_closed, response)


def _labels(rows: pa.Table) -> Floats:
    return np.asarray(rows["perceived_error"].cast(pa.float64()).to_numpy())


def _share(drawn: NDArray[np.bool_], has_label: NDArray[np.bool_]) -> float | None:
    return float((drawn & has_label).sum() / drawn.sum()) if drawn.any() else None


def _members(
    rows: pa.Table,
    labelled: NDArray[np.bool_],
    chance: Floats,
    is_member: NDArray[np.bool_],
    response: float | None,
) -> Audit:
    """The traces that labels of these chances speak of."""
    truth = np.where(labelled, _labels(rows), np.nan)
    spread = float(np.ptp(chance[labelled])) if labelled.any() else 0.0
    # Any score will do for a correction, so a verdict that could not be read stands at one half.
    judge = rows["probability"].fill_null(0.5).to_numpy()
    return Audit(
        truth[is_member],
        judge[is_member],
        np.where(labelled, chance, np.nan)[is_member],
        session_codes(rows)[is_member],
        response,
        spread < 1e-9,
    )


def weighted_wilson(labels: Floats, weight: Floats) -> Interval:
    """Wilson's interval at the effective number of labels, (sum w)^2 / sum w^2 (Kish 1965)."""
    n = float(weight.sum() ** 2 / (weight**2).sum())
    return wilson(float(np.average(labels, weights=weight)) * n, n)

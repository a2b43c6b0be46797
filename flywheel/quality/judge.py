"""How well the judge agrees with people, and how far its probabilities are frequencies.

Labels and the verdicts in use in, a card and a calibration out.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from flywheel.errors import NotEnough
from flywheel.quality.audit import MIN_AUDIT_LABELS, audit_of, judged_traces, weighted_wilson
from flywheel.records import Interval
from flywheel.statistics import Floats, JudgeCard, cluster_bootstrap, ece, judge_card
from flywheel.store import Stores

N_BINS = 10
# Two a bin, at least.
MIN_CALIBRATION_LABELS = 20
# One label of a trace that was hardly ever drawn must not outvote all others.
LARGEST_WEIGHT = 20.0


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Traces of like probability: what the judge said on average, and how often it was so."""

    n: int
    probability: float
    observed: Interval


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """How far a probability of the judge is a frequency; `why` says why there are no numbers."""

    n: int
    positives: int
    ece: Interval | None
    brier: Interval | None
    bins: list[CalibrationBin]
    why: str = ""


def judge_agreement(stores: Stores) -> JudgeCard:
    """How well the judge's verdicts fit the audit labels, weighted where their chances differ.

    Raises NotEnough where fewer than 10 audit labels have a verdict.
    """
    return card_of(judged_traces(stores))


def card_of(rows: pa.Table) -> JudgeCard:
    """As `judge_agreement`, of rows that were read already."""
    rows = rows.filter(pc.is_valid(rows["probability"]))
    audit = audit_of(rows)
    labelled = audit.labelled
    if labelled.sum() < MIN_AUDIT_LABELS:
        raise NotEnough("audit labels with a verdict", int(labelled.sum()), MIN_AUDIT_LABELS)
    return judge_card(
        (audit.truth[labelled] == 1.0).tolist(),
        audit.judge[labelled].tolist(),
        [str(session) for session in audit.sessions[labelled]],
        weight=None if audit.is_uniform else (1 / audit.chance[labelled]).tolist(),
    )


def measure_calibration(stores: Stores) -> CalibrationReport:
    """ECE and Brier score of the verdicts in use, on the labels of the calibration split.

    Labels weigh 1 / draw probability, 20 at most, and 1 where it is unknown; bins have equal mass.
    """
    with stores.warehouse.read() as connection:
        rows = connection.table(
            "quality/labels_of_split", split="calibration", largest_weight=LARGEST_WEIGHT
        )
    truth = rows["perceived_error"].to_numpy().astype(bool)
    probability, weight = rows["probability"].to_numpy(), rows["weight"].to_numpy()
    n, positives = len(truth), int(truth.sum())
    why = ""
    if n < MIN_CALIBRATION_LABELS:
        why = f"{n} labels in the calibration split, and at least {MIN_CALIBRATION_LABELS} needed"
    elif not positives:
        why = f"none of the {n} labels in the calibration split is of a perceived error"
    if why:
        return CalibrationReport(n, positives, None, None, [], why)
    sessions = rows["session"].to_pylist()
    error = cluster_bootstrap(lambda i: ece(truth[i], probability[i], N_BINS, weight[i]), sessions)
    squares = (truth - probability) ** 2
    brier = cluster_bootstrap(lambda i: float(np.average(squares[i], weights=weight[i])), sessions)
    return CalibrationReport(n, positives, error, brier, _bins(truth, probability, weight))


def _bins(truth: NDArray[np.bool_], probability: Floats, weight: Floats) -> list[CalibrationBin]:
    """The bins that `ece` sums over, lowest probability first; empty ones are left out."""
    order = np.argsort(probability, kind="stable")
    middle = np.cumsum(weight[order]) - weight[order] / 2
    places = np.floor(middle / weight.sum() * N_BINS).astype(np.int64)
    parts = [order[places == place] for place in range(N_BINS)]
    return [
        CalibrationBin(
            len(part),
            float(np.average(probability[part], weights=weight[part])),
            weighted_wilson(truth[part].astype(np.float64), weight[part]),
        )
        for part in parts
        if len(part)
    ]

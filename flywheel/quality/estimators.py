"""The rate of some traces by every method that their labels allow, the one to go by first.

Judged traces in, outcomes out, each an interval or the reason why there is none. Which method goes
first is settled by how the labels were drawn, never by what they say: a uniform audit, then all
labels of a known chance, then those of an unknown one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel.quality.audit import (
    MIN_AUDIT_LABELS,
    Audit,
    audit_of,
    drawn_of,
    of_unknown_chance,
    session_codes,
    weighted_wilson,
)
from flywheel.records import Interval
from flywheel.statistics import Estimated, corrected_rate, rogan_gladen, wilson

PPI = "ppi++"
WEIGHTED = "weighted"
ROGAN_GLADEN = "rogan-gladen"
LABELS_ONLY = "labels only"
JUDGE_ONLY = "judge only, unadjusted"
# Those who do not answer are not like those who do: beyond a fifth, no weight makes up for them.
MIN_RESPONSE_RATE = 0.8
# Of errors and of others: with fewer, sensitivity and specificity say next to nothing.
MIN_OF_EACH_KIND = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one method says of some traces; `why` where it says nothing.

    `n_traces` are those that it speaks of. `estimated` has what each trace adds, where the method
    gives that.
    """

    method: str
    n_traces: int
    n_labels: int
    interval: Interval | None
    response_rate: float | None = None
    why: str = ""
    estimated: Estimated | None = None


def outcomes_of(rows: pa.Table, teachers: pa.Table) -> list[Outcome]:
    """Every method's outcome, those with an estimate corrected by labels first.

    `rows` are the judged traces that the rate is of; `teachers` are other traces that the judge
    read, with a label of unknown chance.
    """
    audit = audit_of(rows)
    corrected = list(_corrected(rows, audit, teachers))
    corrected.sort(key=lambda outcome: outcome.interval is None)
    labels = audit.truth[audit.labelled]
    if len(labels):
        alone = weighted_wilson(labels, audit.weight[audit.labelled])
        corrected.append(
            Outcome(LABELS_ONLY, len(audit.truth), len(labels), alone, audit.response_rate)
        )
    read = rows["probability"].drop_null().to_numpy()
    if len(read):
        flagged = wilson(float((read >= 0.5).sum()), len(read))
        corrected.append(Outcome(JUDGE_ONLY, len(read), 0, flagged, audit.response_rate))
    return corrected


def teachers_of(rows: pa.Table, own: pa.Table) -> pa.Table:
    """Labels of unknown chance outside `own`, of traces that the same judge read."""
    labelled = of_unknown_chance(rows)
    is_alike = pc.is_in(labelled["judge_version"], pc.unique(own["judge_version"]))
    return labelled.filter(pc.and_(is_alike, pc.invert(pc.is_in(labelled["row"], own["row"]))))


def _corrected(rows: pa.Table, audit: Audit, teachers: pa.Table) -> Iterator[Outcome]:
    every_draw = drawn_of(rows)
    if audit.is_uniform:
        yield _by_draw(PPI, audit)
    if every_draw.n_labels > audit.n_labels or (
        not audit.is_uniform and every_draw.n_labels == audit.n_labels
    ):
        yield _by_draw(WEIGHTED, every_draw)
    elif not audit.is_uniform:
        yield _by_draw(WEIGHTED, audit)
    unknown = pa.concat_tables([of_unknown_chance(rows), teachers])
    if unknown.num_rows >= MIN_AUDIT_LABELS:
        yield _by_classes(rows, teachers, unknown.num_rows)


def _by_draw(method: str, audit: Audit) -> Outcome:
    """The judge's rate as labels of known chance correct it."""
    n, response = audit.n_labels, audit.response_rate

    def refused(why: str) -> Outcome:
        return Outcome(method, len(audit.truth), n, None, response, why)

    if response is not None and response < MIN_RESPONSE_RATE:
        drawn = "audit items" if method == PPI else "drawn items"
        more = math.ceil(MIN_RESPONSE_RATE * n / response - n) if response else 0
        return refused(
            f"{response:.0%} of the {drawn} are decided, and an estimate needs "
            f"{MIN_RESPONSE_RATE:.0%}{f', {more} more' if more else ''}: "
            "those left out may differ from the rest"
        )
    if n < MIN_AUDIT_LABELS:
        kind = "audit labels" if method == PPI else "labels of known chance"
        return refused(f"{n} {kind}, and at least {MIN_AUDIT_LABELS} are needed")
    found = corrected_rate(audit.truth, audit.judge, audit.weight, audit.sessions)
    return Outcome(method, len(audit.truth), n, found.interval, response, "", found)


def _by_classes(rows: pa.Table, teachers: pa.Table, n: int) -> Outcome:
    """The judge's rate as its errors on labels of unknown chance correct it."""
    both = pa.concat_tables([rows, teachers])
    is_read = pc.is_valid(both["probability"]).to_numpy()
    is_counted = (np.arange(both.num_rows) < rows.num_rows)[is_read]
    both = both.filter(is_read)
    truth = np.asarray(both["perceived_error"].cast(pa.float64()).to_numpy()).copy()
    truth[~np.isin(both["row"].to_numpy(), of_unknown_chance(both)["row"].to_numpy())] = np.nan
    errors, others = int((truth == 1).sum()), int((truth == 0).sum())

    def said(interval: Interval | None, why: str = "") -> Outcome:
        return Outcome(ROGAN_GLADEN, rows.num_rows, errors + others, interval, None, why)

    if min(errors, others) < MIN_OF_EACH_KIND:
        return said(
            None,
            f"{errors} labels of unknown chance are of an error and {others} are not, and "
            f"{MIN_OF_EACH_KIND} of either kind are needed",
        )
    # Calibrated probabilities give intervals up to a fifth narrower than verdicts do.
    found = rogan_gladen(truth, both["probability"].to_numpy(), is_counted, session_codes(both))
    if found is None:
        return said(None, f"{n} labels do not show that the judge tells errors from others")
    return said(found)

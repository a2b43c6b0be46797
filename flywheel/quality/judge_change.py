"""Whether the judge in use agrees with people less than it did: the drift that a retraining mends.

Judged traces with their labels in, one comparison a judge out. The one idea is that only labels of
the uniform audit count, and only against verdicts of the same judge. What users ask may drift, and
scores may, while the judge reads both as well as ever: neither is a reason to train one.

A fall is said only where the two 95 % intervals lie apart and the fall is of 5 points or more. For
independent samples that is a one-sided level of about 0.3 % a look (Schenker and Gentleman 2001),
and it is acted on once a week: a false alarm in six years, for which the price is one retraining
that the gate still has to pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel.models.engine import version_in
from flywheel.quality.audit import audit_of, counted, weighted_wilson
from flywheel.quality.figures import share
from flywheel.records import Interval
from flywheel.statistics import cluster_bootstrap

# What counts as lately, up to the newest day of traces, and the days before it that it is compared
# with.
RECENT_DAYS, EARLIER_DAYS = 28, 182
# Of each side: with fewer, the intervals are wider than any fall that could be meant.
MIN_LABELS = 30
# Below it a fall may be certain, and is no reason for a retraining.
LEAST_FALL = 0.05


@dataclass(frozen=True, slots=True)
class JudgeChange:
    """How often a judge agrees with people, lately and before, on labels of the random audit.

    `judge` is its registered version; `why` is a sentence, whether or not it has fallen.
    """

    judge: str
    last_day: date
    recent: Interval | None
    earlier: Interval | None
    n_recent: int
    n_earlier: int
    has_fallen: bool
    why: str


def measure_judge_changes(rows: pa.Table) -> list[JudgeChange]:
    """The comparison of each judge that read a trace lately; `rows` are of `judged_traces`."""
    rows = counted(rows)
    rows = rows.filter(pc.is_valid(rows["probability"]))
    if not rows.num_rows:
        return []
    versions = [judge_of(str(version)) for version in rows["judge_version"].to_pylist()]
    rows = rows.append_column("judge", pa.array(versions, pa.string()))
    newest = pc.max(rows["day"]).as_py()
    return list(_changes(rows, newest))


def judge_of(judge_version: str) -> str:
    """The registered version of a judge, without the tier, the numbers and who else read."""
    return version_in(judge_version.split("/")[0].split("+")[0], "float32")


def _changes(rows: pa.Table, newest: date) -> Iterator[JudgeChange]:
    first = newest - timedelta(days=RECENT_DAYS - 1)
    is_recent = pc.greater_equal(rows["day"], first)
    since = pc.greater_equal(rows["day"], first - timedelta(days=EARLIER_DAYS))
    is_early = pc.and_(since, pc.invert(is_recent))
    for judge in sorted(pc.unique(rows.filter(is_recent)["judge"]).to_pylist()):
        own = pc.equal(rows["judge"], judge)
        recent, n_recent = _agreement(rows.filter(pc.and_(own, is_recent)))
        earlier, n_earlier = _agreement(rows.filter(pc.and_(own, is_early)))
        has_fallen, why = _said(recent, n_recent, earlier, n_earlier)
        yield JudgeChange(
            judge, newest, recent, earlier, n_recent, n_earlier, has_fallen, f"judge {judge} {why}"
        )


def _said(
    recent: Interval | None, n_recent: int, earlier: Interval | None, n_earlier: int
) -> tuple[bool, str]:
    """Whether it has fallen, and that in a sentence without its subject."""
    if recent is None or earlier is None:
        return False, (
            f"has {n_recent} audit labels of the last {RECENT_DAYS} days and {n_earlier} from "
            f"before; {MIN_LABELS} of each tell whether it agrees with people as it did"
        )
    is_apart = recent.high < earlier.low
    has_fallen = is_apart and earlier.estimate - recent.estimate >= LEAST_FALL
    verb = "agrees with people less than it did" if has_fallen else "agrees with people as it did"
    return has_fallen, (
        f"{verb}: {share(recent)} of {n_recent} audit labels of the last {RECENT_DAYS} days, "
        f"{share(earlier)} of {n_earlier} before"
    )


def _agreement(rows: pa.Table) -> tuple[Interval | None, int]:
    """The share of audit labels that the verdicts fit, weighted where chances differ."""
    if not rows.num_rows:
        return None, 0
    audit = audit_of(rows)
    kept = audit.labelled
    n = int(kept.sum())
    if n < MIN_LABELS:
        return None, n
    right = ((audit.judge[kept] >= 0.5) == (audit.truth[kept] == 1.0)).astype(np.float64)
    weight = np.ones(n) if audit.is_uniform else 1 / audit.chance[kept]
    sessions = [str(session) for session in audit.sessions[kept]]
    if len(set(sessions)) == n or right.min() == right.max():
        return weighted_wilson(right, weight), n

    def mean(picked: Any) -> float:  # noqa: ANN401  # row numbers
        return float(np.average(right[picked], weights=weight[picked]))

    return cluster_bootstrap(mean, sessions), n

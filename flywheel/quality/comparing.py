"""Two releases or two judges held against each other, with what the difference means in a sentence.

Judged traces with their labels in, a difference with its interval out; the one idea is that what
both sides share, sessions or traces, takes its noise out of the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from flywheel.errors import NotEnough, NotFound, Refused
from flywheel.quality.audit import MIN_AUDIT_LABELS, counted, judged_traces, what_was_asked
from flywheel.quality.estimators import (
    MIN_RESPONSE_RATE,
    Outcome,
    outcomes_of,
    teachers_of,
)
from flywheel.quality.rates import EVERY_APP
from flywheel.quality.resampling import draws_by_session, percentiles
from flywheel.records import Interval
from flywheel.statistics import (
    Floats,
    bootstrap_p,
    mcc_difference,
    mcnemar_exact,
    mean_of_sessions,
    rate_difference,
)
from flywheel.store import Stores

Bools = NDArray[np.bool_]

MCNEMAR = "exact McNemar"
BOOTSTRAP = "weighted paired bootstrap by session"
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class ReleaseSide:
    """The rate of perceived errors of one release, by the method that its labels allow."""

    release: str
    method: str
    n_traces: int
    n_labels: int
    rate: Interval


@dataclass(frozen=True, slots=True)
class ReleaseComparison:
    """The rate of the second release minus that of the first; `app` is `*` for all of them."""

    app: str
    first: ReleaseSide
    second: ReleaseSide
    n_shared_sessions: int
    difference: Interval
    meaning: str


@dataclass(frozen=True, slots=True)
class JudgeComparison:
    """The second judge minus the first on the traces that both read.

    `flagged` is of all those traces; accuracy and MCC are of the `n_labels` with a label of known
    chance, of which `only_first` and `only_second` are those that one of the two judged right.
    """

    app: str
    first: str
    second: str
    n_traces: int
    n_labels: int
    only_first: int
    only_second: int
    flagged: Interval
    accuracy: Interval
    mcc: Interval
    test: str
    p_value: float
    meaning: str


def compare_releases(
    stores: Stores, first: str, second: str, app: str | None = None
) -> ReleaseComparison:
    """How much more often users of `second` see an error than those of `first`.

    Each side is estimated by itself, PPI++ or weighted, and sessions in both are drawn together.
    Raises NotFound where no judged trace names a release, Refused where one has no estimate.
    """
    rows = counted(judged_traces(stores))
    if app is not None:
        _require("judged app", app, pc.unique(rows["app"]).to_pylist())
        rows = rows.filter(pc.equal(rows["app"], app))
    known = pc.unique(rows["release"]).to_pylist()
    outcomes, sessions = [], []
    for release in (first, second):
        _require("release with judged traces", release, known)
        own = rows.filter(pc.equal(rows["release"], release))
        outcomes.append(_by_draw(release, outcomes_of(own, teachers_of(own, own))))
        sessions.append(set(own["session"].combine_chunks().indices.to_pylist()))
    a, b = (outcome.estimated for outcome in outcomes)
    assert a is not None
    assert b is not None
    difference = rate_difference(a, b)
    one, other = (_side(r, o) for r, o in zip((first, second), outcomes, strict=True))
    meaning = _says_of_releases(first, second, difference)
    shared = len(sessions[0] & sessions[1])
    return ReleaseComparison(app or EVERY_APP, one, other, shared, difference, meaning)


def compare_judges(
    stores: Stores, first: str, second: str, app: str | None = None
) -> JudgeComparison:
    """How much more often `second` is right than `first`, on the same traces.

    A judge is a version as scores name it, or that of a run without its tier. Of a day on which
    either had learnt any label, only traces of the holdout speak. Exact McNemar where the labels
    are a uniform audit of one trace a session, else a bootstrap of sessions weighted by 1 / chance.
    Raises NotFound where no score names a judge, NotEnough where labels are too few, Refused where
    too many of those drawn are missing.
    """
    with stores.warehouse.read() as connection:
        versions = connection.table("quality/judge_versions")["judge_version"].to_pylist()
        known = sorted({*versions, *(version.split("/")[0] for version in versions)})
    for judge in (first, second):
        _require("judge with scores", judge, known)
    rows = judged_by_two(stores, first, second, app)
    if not rows.num_rows:
        raise NotEnough("traces that both judges read", 0, 1)
    flags = [rows[name].to_numpy() >= 0.5 for name in ("first", "second")]
    everyone = np.unique(rows["session"].to_pylist(), return_inverse=True)[1]
    flagged = mean_of_sessions(flags[1].astype(float) - flags[0].astype(float), everyone)
    chosen, weight = labels_of_known_chance(rows)
    n = int(chosen.sum())
    if n < MIN_AUDIT_LABELS:
        raise NotEnough("labels of known chance that both judges read", n, MIN_AUDIT_LABELS)
    truth = rows["perceived_error"].fill_null(False).to_numpy()[chosen]
    a, b = (flag[chosen] for flag in flags)
    only_a, only_b = (a == truth) & (b != truth), (b == truth) & (a != truth)
    sessions = [str(code) for code in everyone[chosen]]
    accuracy, p_boot = _mean_difference(only_b.astype(float) - only_a, weight[chosen], sessions)
    mcc = mcc_difference(truth.tolist(), a.tolist(), b.tolist(), sessions, weight[chosen].tolist())
    is_plain = np.ptp(weight[chosen]) < 1e-9 and len(set(sessions)) == n
    p_value = mcnemar_exact(int(only_b.sum()), int(only_a.sum())) if is_plain else p_boot
    test = MCNEMAR if is_plain else BOOTSTRAP
    return JudgeComparison(
        app or EVERY_APP,
        first,
        second,
        rows.num_rows,
        n,
        int(only_a.sum()),
        int(only_b.sum()),
        flagged,
        accuracy,
        mcc,
        test,
        p_value,
        _says_of_judges(first, second, accuracy, p_value, test, n),
    )


def judged_by_two(
    stores: Stores, first: str, second: str, app: str | None = None, since: date | None = None
) -> pa.Table:
    """The traces that both judges read, from the UTC day `since` on, with what people said."""
    with stores.warehouse.read() as connection, what_was_asked(stores, connection):
        return connection.table(
            "quality/judged_by_two", first_judge=first, second_judge=second, app=app, first=since
        )


def labels_of_known_chance(rows: pa.Table) -> tuple[Bools, Floats]:
    """Which rows have such a label, and 1 / chance: the audit's where they are enough and alike.

    Else those of days of which nothing is open, since what is decided first of a day was not drawn
    to be, or those of a file where they are more. Raises Refused where people left too many out.
    """
    has_label = pc.is_valid(rows["perceived_error"]).to_numpy()
    audit = rows["audit_probability"].to_numpy()
    for of_audit in (has_label & ~np.isnan(audit), has_label & rows["is_audit"].to_numpy()):
        alike = np.ptp(np.nan_to_num(audit[of_audit], nan=1.0)) < 1e-9 if of_audit.any() else False
        if of_audit.sum() >= MIN_AUDIT_LABELS and alike:
            return of_audit, np.ones(len(audit))
    chance, given = (rows[f"{by}_probability"].to_numpy() for by in ("draw", "given"))
    drawn = ~np.isnan(chance) & rows["is_closed_day"].to_numpy()
    from_file = has_label & ~np.isnan(given)
    if from_file.sum() > (drawn & has_label).sum():
        return from_file, 1 / np.nan_to_num(given, nan=1.0)
    if drawn.any() and (drawn & has_label).sum() / drawn.sum() < MIN_RESPONSE_RATE:
        raise Refused(
            f"{(drawn & has_label).sum() / drawn.sum():.0%} of the drawn items that both judges "
            f"read are decided, and a comparison needs {MIN_RESPONSE_RATE:.0%}: those left out may "
            "differ from the rest"
        )
    return drawn & has_label, 1 / np.nan_to_num(chance, nan=1.0)


def _require(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise NotFound(kind, name, [one for one in known if one])


def _by_draw(release: str, outcomes: list[Outcome]) -> Outcome:
    """The estimate from labels of known chance; others bring no noise that could be shared."""
    for outcome in outcomes:
        if outcome.estimated is not None:
            return outcome
    why = next((outcome.why for outcome in outcomes if outcome.why), "no labels of known chance")
    raise Refused(f"release {release!r} has no estimate to compare: {why}")


def _side(release: str, outcome: Outcome) -> ReleaseSide:
    assert outcome.interval is not None
    return ReleaseSide(
        release, outcome.method, outcome.n_traces, outcome.n_labels, outcome.interval
    )


def _mean_difference(
    values: Floats, weight: Floats, sessions: Sequence[str]
) -> tuple[Interval, float]:
    """Weighted mean with its percentile interval by session, and the p-value of no difference."""
    sums = draws_by_session(np.stack([weight * values, weight], axis=1), sessions)
    draws = sums[:, 0] / sums[:, 1]
    return percentiles(float(np.average(values, weights=weight)), draws), bootstrap_p(draws)


def _says_of_releases(first: str, second: str, difference: Interval) -> str:
    points = _points(difference)
    if difference.low > 0:
        return f"Users of {second} see an error more often than those of {first}, by {points}."
    if difference.high < 0:
        return f"Users of {second} see an error less often than those of {first}, by {points}."
    return f"The labels do not tell {second} from {first}: the rates differ by {points}."


def _says_of_judges(
    first: str, second: str, accuracy: Interval, p_value: float, test: str, n: int
) -> str:
    by = f"{test}, p = {p_value:.3f}, on {n} labels"
    if p_value >= ALPHA:
        return (
            f"The labels do not tell {second} from {first}: accuracy differs by "
            f"{_points(accuracy)} ({by})."
        )
    more = "more" if accuracy.estimate > 0 else "less"
    return f"{second} is right {more} often than {first}, by {_points(accuracy)} ({by})."


def _points(difference: Interval) -> str:
    low, high = 100 * difference.low, 100 * difference.high
    return f"{100 * difference.estimate:+.1f} points [{low:+.1f}, {high:+.1f}]"

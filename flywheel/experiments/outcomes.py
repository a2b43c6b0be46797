"""What became of each arm's sessions: the outcome with its variance, and how two arms differ.

Exposures, traces, scores and labels in, one estimate an arm and one a pair out. The one idea is
that a session counts as one, whatever number of traces it has, and only from when it was given its
arm; errors of the judge are corrected within each arm, since a judge may err on one as it does not
on the other.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from flywheel.errors import Refused
from flywheel.experiments.experiment import (
    PERCEIVED_ERROR,
    VERDICT,
    Experiment,
    metric_of,
)
from flywheel.quality.audit import counted, judged_traces, session_codes
from flywheel.quality.comparing import judged_by_two, labels_of_known_chance
from flywheel.quality.estimators import outcomes_of
from flywheel.statistics import Floats, clustered_mean
from flywheel.store import Stores
from flywheel.store.ledger import in_utc
from flywheel.store.tables import exposures

# Seconds by which an application's clock may be behind the ledger's.
CLOCK_SLACK_S = 3600
# Of labels an arm, where labels correct the judge: with fewer, their own variance is a guess.
LEAST_LABELS = 30
# Of errors and of others, or of traces on which only one of two judges is right.
LEAST_OF_EACH_KIND = 5


@dataclass(frozen=True, slots=True)
class ArmOutcome:
    """What is known of an arm: `estimate` is the mean of its outcome, None with the reason `why`.

    `n_exposed` sessions were given it, `n_arrived` of them have a trace, `n_sessions` an outcome.
    """

    arm: str
    n_exposed: int = 0
    n_arrived: int = 0
    n_sessions: int = 0
    n_traces: int = 0
    n_labels: int = 0
    estimate: float | None = None
    variance: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """An arm's outcome minus the first arm's; `estimate` is None with the reason `why`."""

    arm: str
    n_sessions: int
    estimate: float | None = None
    variance: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """All arms, in the order of the plan, and each of the others against the first."""

    arms: list[ArmOutcome]
    differences: list[Difference]


def measure_outcomes(stores: Stores, experiment: Experiment) -> Outcomes:
    """What became of the sessions of each arm until now."""
    if experiment.is_paired:
        return _of_judges(stores, experiment)
    n_exposed, traces = _exposed_traces(stores, experiment)
    rows = _outcome_rows(stores, experiment, traces)
    arms = []
    for arm in experiment.arms:
        own = rows.filter(pc.equal(rows["arm"], arm.name))
        of_arm = traces.filter(pc.equal(traces["arm"], arm.name))
        arrived = pc.count_distinct(of_arm["unit"]).as_py()
        arms.append(_of_arm(experiment, arm.name, own, n_exposed[arm.name], arrived))
    spread = _too_alike(experiment, rows)
    return Outcomes(arms, [_difference(arms[0], arm, spread) for arm in arms[1:]])


def _exposed_traces(stores: Stores, experiment: Experiment) -> tuple[Counter[str], pa.Table]:
    """How many units were given each arm; and their traces, one row each with `unit` and `arm`."""
    columns = exposures.c["unit", "arm", "session_id", "user_id", "first_at"]
    found = sa.select(*columns).where(exposures.c.experiment == experiment.name)
    with stores.ledger.read() as connection:
        rows = connection.execute(found).all()
    text, moment = pa.string(), pa.timestamp("us")
    types = (text, text, text, text, moment)
    cells = zip(*rows, strict=True) if rows else ((),) * len(types)
    exposed = pa.table(
        {
            column.name: pa.array(
                [in_utc(one).replace(tzinfo=None) if type_ is moment else one for one in values],
                type_,
            )
            for column, values, type_ in zip(columns, cells, types, strict=True)
        }
    )
    app = experiment.app or None
    with stores.warehouse.read() as warehouse, warehouse.given(exposed=exposed):
        traces = warehouse.table("experiments/exposed_traces", app=app, slack_s=CLOCK_SLACK_S)
    return Counter(row.arm for row in rows), traces


def _outcome_rows(stores: Stores, experiment: Experiment, traces: pa.Table) -> pa.Table:
    """The exposed traces that have an outcome: with `arm`, and the unit in place of the session."""
    first, outcome = experiment.started_at.date(), experiment.plan.outcome
    if outcome in (PERCEIVED_ERROR, VERDICT):
        rows = counted(judged_traces(stores, first))
    else:
        with stores.warehouse.read() as warehouse:
            rows = warehouse.table(
                "experiments/scores_of_metric", metric=metric_of(outcome), first=first
            )
    place = dict(zip(traces["trace_id"].to_pylist(), range(traces.num_rows), strict=True))
    at = [place.get(trace_id) for trace_id in rows["trace_id"].to_pylist()]
    rows = rows.filter(pa.array([i is not None for i in at], pa.bool_()))
    chosen = traces.take(pa.array([i for i in at if i is not None], pa.int64()))
    units = pa.array(chosen["unit"].to_pylist(), pa.string()).dictionary_encode()
    if "session" in rows.column_names:
        rows = rows.drop_columns("session")
    return rows.append_column("session", units).append_column("arm", chosen["arm"])


def _of_arm(
    experiment: Experiment, arm: str, rows: pa.Table, n_exposed: int, n_arrived: int
) -> ArmOutcome:
    plan = experiment.plan
    n_sessions = len(np.unique(session_codes(rows))) if rows.num_rows else 0
    so_far = (arm, n_exposed, n_arrived, n_sessions, rows.num_rows)
    if not rows.num_rows:
        return ArmOutcome(*so_far, why="no session has an outcome yet")
    if plan.outcome == PERCEIVED_ERROR:
        found = next((one for one in outcomes_of(rows, rows.slice(0, 0)) if one.estimated), None)
        if found is None or found.estimated is None:
            return ArmOutcome(*so_far, why=_why_no_labels(rows))
        estimated, n = found.estimated, found.n_labels
        why = f"{n} labels, and {LEAST_LABELS} are needed" if n < LEAST_LABELS else ""
        return ArmOutcome(*so_far, n, estimated.interval.estimate, estimated.variance, why)
    values, sessions = _values(experiment, rows)
    if not len(values):
        return ArmOutcome(*so_far, why="no trace has a verdict that could be read")
    mean, variance = clustered_mean(values, sessions, float(np.ptp(values)) or 1.0)
    return ArmOutcome(*so_far, 0, mean, variance)


def _why_no_labels(rows: pa.Table) -> str:
    found = (one.why for one in outcomes_of(rows, rows.slice(0, 0)) if one.why)
    return next(found, "no label was drawn by a known chance")


def _values(experiment: Experiment, rows: pa.Table) -> tuple[Floats, "np.typing.NDArray[np.int64]"]:
    """The outcome of each row, and a number of its session."""
    if experiment.plan.outcome != VERDICT:
        return rows["value"].to_numpy(), session_codes(rows)
    rows = rows.filter(pc.is_valid(rows["probability"]))
    return (rows["probability"].to_numpy() >= 0.5).astype(float), session_codes(rows)


def _too_alike(experiment: Experiment, rows: pa.Table) -> str:
    """Why the outcomes of all arms together are too alike to tell arms apart, if they are."""
    if experiment.plan.outcome == PERCEIVED_ERROR or not rows.num_rows:
        return ""
    values, sessions = _values(experiment, rows)
    if not np.isin(values, (0.0, 1.0)).all():
        return ""
    fewest = min(len(np.unique(sessions[values == kind])) for kind in (0.0, 1.0))
    return (
        ""
        if fewest >= LEAST_OF_EACH_KIND
        else f"{fewest} sessions are unlike the others, and {LEAST_OF_EACH_KIND} are needed"
    )


def _difference(first: ArmOutcome, other: ArmOutcome, too_alike: str) -> Difference:
    n = first.n_sessions + other.n_sessions
    why = next((f"{one.arm}: {one.why}" for one in (first, other) if one.why), too_alike)
    if first.estimate is None or other.estimate is None:
        return Difference(other.arm, n, why=why)
    estimate = other.estimate - first.estimate
    return Difference(other.arm, n, estimate, first.variance + other.variance, why)


def _of_judges(stores: Stores, experiment: Experiment) -> Outcomes:
    """Two judges on the same traces: how often each is right, by labels of known chance."""
    one, other = (str(arm.value) for arm in experiment.arms)
    since = experiment.started_at.date()
    rows = judged_by_two(stores, one, other, experiment.app or None, since)
    n, why = rows.num_rows, ""
    try:
        chosen, weight = labels_of_known_chance(rows) if n else (np.zeros(0, bool), np.zeros(0))
    except Refused as error:
        chosen, weight, why = np.zeros(n, bool), np.zeros(n), str(error)
    sessions = np.unique(rows["session"].to_pylist(), return_inverse=True)[1][chosen]
    n_sessions, n_labels = len(np.unique(sessions)), int(chosen.sum())
    counts = (0, 0, n_sessions, n, n_labels)
    if not n_labels:
        why = why or "no trace that both judges read has a label of known chance"
        arms = [ArmOutcome(arm.name, *counts, why=why) for arm in experiment.arms]
        return Outcomes(arms, [Difference(experiment.arms[1].name, 0, why=why)])
    truth = rows["perceived_error"].fill_null(False).to_numpy()[chosen]
    right = [
        ((rows[side].to_numpy()[chosen] >= 0.5) == truth).astype(float)
        for side in ("first", "second")
    ]
    arms = [
        ArmOutcome(arm.name, *counts, *clustered_mean(of, sessions, 1.0, weight[chosen]))
        for arm, of in zip(experiment.arms, right, strict=True)
    ]
    apart = right[1] - right[0]
    estimate, variance = clustered_mean(apart, sessions, 1.0, weight[chosen])
    unlike = len(np.unique(sessions[apart != 0]))
    if unlike < LEAST_OF_EACH_KIND:
        why = f"only one of the two is right in {unlike} sessions, and 5 such are needed"
    return Outcomes(
        arms, [Difference(experiment.arms[1].name, n_sessions, estimate, variance, why)]
    )

"""Where along a trace errors come: the share of traces without one up to each step.

Labels or verdicts with the message that they point at in, a curve with intervals out. A step is a
message of the assistant; a trace that ends without an error is unknown from there on, and not fine
(Kaplan and Meier 1958).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from flywheel.quality.figures import Figure, Row, name_of, share
from flywheel.quality.judge import LARGEST_WEIGHT
from flywheel.quality.resampling import draws_by_session, percentiles
from flywheel.records import Interval
from flywheel.statistics import Floats, wilson
from flywheel.store import Stores

Source = Literal["labels", "verdicts"]
MAX_STEPS = 30
# With fewer traces left, a step says nothing; the curve ends before it.
MIN_AT_RISK = 5


@dataclass(frozen=True, slots=True)
class Step:
    """The k-th message of the assistant, from 1.

    `n_traces` have it and no error before it, `n_errors` have one there. `accuracy` is the share
    of them without, `survival` that of all traces that are without one up to it.
    """

    step: int
    n_traces: int
    n_errors: int
    accuracy: Interval
    survival: Interval


@dataclass(frozen=True, slots=True)
class StepCurve:
    """One application's curve; `n_unplaced` errors point at no message and are left out."""

    app: str
    n_traces: int
    n_unplaced: int
    steps: list[Step]


def step_curves(stores: Stores, source: Source, app: str | None = None) -> list[StepCurve]:
    """A curve for each application, by name, from people's labels or the judge's verdicts."""
    with stores.warehouse.read() as connection:
        if source == "labels":
            rows = connection.table(
                "quality/steps_of_labels", app=app, largest_weight=LARGEST_WEIGHT
            )
        else:
            rows = connection.table("quality/steps_of_verdicts", app=app)
    apps = np.array(rows["app"].to_pylist(), object)
    return [curve_of(str(name), rows.filter(pa.array(apps == name))) for name in sorted(set(apps))]


def curve_of(app: str, rows: pa.Table) -> StepCurve:
    """The curve of rows with a session, n_steps, error_step (null, or 0 for no place) and weight.

    Survival is the product of the shares without an error at each step so far. Intervals of both
    are from 2,000 draws of sessions; where all draws are alike, for want of an error, Wilson's.
    """
    error_step = rows["error_step"].fill_null(-1).to_numpy()
    is_placed = error_step != 0
    rows, error_step = rows.filter(pa.array(is_placed)), error_step[is_placed]
    n_steps, weight = rows["n_steps"].to_numpy(), rows["weight"].to_numpy()
    ends = np.where(error_step > 0, np.minimum(error_step, n_steps), n_steps)
    places = np.arange(1, MAX_STEPS + 1)
    at_risk = ends[:, None] >= places
    has_error = (error_step > 0)[:, None] & (ends[:, None] == places)
    n_at_risk, n_errors = at_risk.sum(axis=0), has_error.sum(axis=0)
    n_shown = int(np.argmax([*(n_at_risk < MIN_AT_RISK), True]))
    sums = np.stack([at_risk * weight[:, None], has_error * weight[:, None]], axis=1)
    curve = _survival(sums.sum(axis=0)[None])[0] if len(rows) else np.ones(MAX_STEPS)
    drawn = draws_by_session(sums, rows["session"].to_pylist()) if n_shown else sums[:0]
    draws, right = _survival(drawn), _without(drawn)
    right_of_all = _without(sums.sum(axis=0)[None])[0] if len(rows) else np.ones(MAX_STEPS)
    steps = [
        Step(
            int(places[k]),
            int(n_at_risk[k]),
            int(n_errors[k]),
            percentiles(float(right_of_all[k]), right[:, k])
            if 0 < n_errors[k] < n_at_risk[k]
            else wilson(float(n_at_risk[k] - n_errors[k]), float(n_at_risk[k])),
            percentiles(float(curve[k]), draws[:, k])
            if n_errors[: k + 1].any()
            else wilson(float(n_at_risk[k]), float(n_at_risk[k])),
        )
        for k in range(n_shown)
    ]
    return StepCurve(app, len(is_placed), int((~is_placed).sum()), steps)


def _survival(sums: Floats) -> Floats:
    """Survival of shape (n, steps), of weights at risk and with an error, (n, 2, steps)."""
    return np.asarray(np.cumprod(_without(sums), axis=1), float)


def _without(sums: Floats) -> Floats:
    """The weighted share without an error at each step, of the same shapes."""
    at_risk, errors = sums[:, 0], sums[:, 1]
    return np.asarray(1 - np.divide(errors, at_risk, np.zeros_like(errors), where=at_risk > 0))


def step_figures(stores: Stores) -> list[Figure]:
    """The curves of people's labels in a sentence and a table, where any label says where."""
    curves = [curve for curve in step_curves(stores, "labels") if curve.steps]
    placed = [curve for curve in curves if any(step.n_errors for step in curve.steps)]
    return [read_steps(placed)] if placed else []


def read_steps(curves: Sequence[StepCurve]) -> Figure:
    """The curves in a sentence and a table."""
    shown = [(curve, step) for curve in curves for step in curve.steps]
    rows = [
        Row(
            [
                name_of(curve.app),
                str(step.step),
                share(step.survival),
                share(step.accuracy),
                f"{step.n_traces:,}",
            ]
        )
        for curve, step in shown
    ]
    said = [
        f"Of {name_of(c.app)}, {share(c.steps[-1].survival)} are without an error up to answer "
        f"{c.steps[-1].step}."
        for c in curves
        if c.steps
    ]
    columns = ["App", "Answer", "Without an error so far", "Right at this answer", "Traces"]
    return Figure("steps", "Where errors come", " ".join(said), columns, rows, [])

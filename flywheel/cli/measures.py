"""What is measured of metrics and of steps: two more verbs of `flywheel quality`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from flywheel.cli.output import as_json, emit, emit_rows
from flywheel.store import find_project

if TYPE_CHECKING:
    from flywheel.records import Interval


@click.command("metrics")
@as_json
@click.pass_obj
def of_metrics(folder: Path, as_json: bool) -> None:
    """How far each metric by code agrees with people, and on how many labels that rests."""
    from flywheel.metrics import load_metrics
    from flywheel.quality.code_metrics import metric_agreement

    project = find_project(folder)
    today = datetime.now(UTC).date()
    found = metric_agreement(project.stores, load_metrics(project.metrics_dir), today)
    if as_json:
        emit(found, as_json)
        return
    emit_rows(
        ["metric", "review due", "labels", "errors", "coverage", "false failures", "alignment"],
        [
            (
                m.metric,
                f"{m.review_due}{' overdue' if m.is_overdue else ''}",
                m.n_labels,
                m.n_errors,
                *map(_shown, (m.coverage, m.false_failure_rate, m.alignment)),
            )
            for m in found
        ],
        as_json,
    )


@click.command("steps")
@click.option("--app", help="One application; all of them otherwise.")
@click.option(
    "--of",
    "source",
    type=click.Choice(["labels", "verdicts"]),
    default="labels",
    show_default=True,
    help="Where people saw errors, or where the judge does.",
)
@as_json
@click.pass_obj
def of_steps(
    folder: Path, app: str | None, source: Literal["labels", "verdicts"], as_json: bool
) -> None:
    """The share of traces without an error up to each answer."""
    from flywheel.quality.steps import step_curves

    curves = step_curves(find_project(folder).stores, source, app)
    if as_json:
        emit(curves, as_json)
        return
    emit_rows(
        ["app", "answer", "traces", "errors", "right at this answer", "without an error so far"],
        [
            (c.app, s.step, s.n_traces, s.n_errors, _shown(s.accuracy), _shown(s.survival))
            for c in curves
            for s in c.steps
        ],
        as_json,
    )


def _shown(interval: "Interval | None") -> str:
    if interval is None:
        return "too few labels"
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"

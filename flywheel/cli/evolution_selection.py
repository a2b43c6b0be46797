"""`flywheel evolution select` and `next`: the metrics that are enough, and what to grade next."""

import getpass
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, emit_rows, words
from flywheel.errors import NotFound
from flywheel.store import Project, find_project

# Days; of all traces.
_EVER = 100_000


@click.command()
@click.option("--app", help="By the labels of this application alone.")
@click.option(
    "--coverage", type=click.FloatRange(0, 1, min_open=True), help="Errors found, at least."
)
@click.option(
    "--false-failures",
    type=click.FloatRange(0, 1, max_open=True),
    help="Good traces that any of the set flags, at most.",
)
@as_json
@click.pass_obj
def select(
    folder: Path,
    app: str | None,
    coverage: float | None,
    false_failures: float | None,
    as_json: bool,
) -> None:
    """The fewest metrics that are enough, fitted on one split and measured on another."""
    from flywheel.evolution.selection.publishing import publish_selection
    from flywheel.evolution.selection.selecting import select_for

    project = find_project(folder)
    _is_known(project, app)
    found = select_for(project, app, coverage, false_failures)
    publish_selection(project.stores, found, app)
    if as_json:
        emit(found, as_json)
    else:
        words.print(found.evidence.sentence)
        emit_rows(
            ("measure", "estimate", "low", "high", "of"),
            [
                (one.name, one.after.estimate, one.after.low, one.after.high, one.n)
                for one in found.evidence.figures
                if one.after
            ],
            as_json,
        )
        emit_rows(
            ("left out", "coverage", "false failures", "adds", "why"),
            [
                (one.metric, one.coverage, one.false_failures, one.adds_coverage, one.why)
                for one in found.left_out
            ],
            as_json,
        )
    if not found.metrics:
        raise SystemExit(1)


@click.command("next")
@click.option("--app", help="Traces of this application alone.")
@click.option(
    "--items", default=10, show_default=True, type=click.IntRange(1, 500), help="At most."
)
@click.option("--queue", "is_queued", is_flag=True, help="Put them into the queue `picked`.")
@as_json
@click.pass_obj
def next_(folder: Path, app: str | None, items: int, is_queued: bool, as_json: bool) -> None:
    """What to grade next so that the metrics are known soonest: the worst and the best by turns."""
    from flywheel.evolution.selection.grading import grade_next, queue_next

    project = find_project(folder)
    _is_known(project, app)
    found = grade_next(project, items, app)
    if is_queued:
        queue_next(project, found, getpass.getuser())
        words.print(f"{len(found)} traces are in the queue picked")
    columns = ("trace", "app", "day", "priority", "against")
    rows = [(one.trace_id, one.app, one.day, one.priority, ", ".join(one.against)) for one in found]
    emit_rows(columns, rows, as_json)


def _is_known(project: Project, app: str | None) -> None:
    """Raises NotFound where no trace of the last years is of this application."""
    if app is None:
        return
    with project.stores.warehouse.read() as connection:
        known = [str(row[0]) for row in connection.rows("evolution/graph_apps", days=_EVER)]
    if app not in known:
        raise NotFound("application with traces", app, known)

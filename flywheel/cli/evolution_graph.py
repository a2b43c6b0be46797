"""`flywheel evolution graph` and `probe`: what calls what, and what to read of it."""

from datetime import datetime
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, emit_rows, words
from flywheel.errors import NotEnough, NotFound
from flywheel.store import find_project

COLUMNS = ("node", "calls", "traces", "failure", "low", "high", "dependents", "risk")


@click.command()
@click.option("--app", default="", help="Of this application; without, the one of most traces.")
@as_json
@click.pass_obj
def graph(folder: Path, app: str, as_json: bool) -> None:
    """Count the calls of the last days, and publish the graph; nodes by risk, riskiest first."""
    from flywheel.evolution.call_graph.publishing import make_graphs

    project = find_project(folder)
    made = make_graphs(project.stores, project.settings.evolution)
    found = made.of(app)
    if found is None and not app:
        words.print("there are no traces yet; `flywheel traces import` brings some")
        emit_rows(COLUMNS, [], as_json)
        return
    if found is None:
        raise NotFound(
            "application with traces of the last days", app, [g.app for g in made.graphs]
        )
    if as_json:
        emit(found, as_json)
        return
    words.print(
        f"{found.app}: {found.n_runs:,} of {found.n_traces:,} traces have a step, "
        f"{found.first_day} to {found.last_day}; more on the page /graph"
    )
    rows = [
        (
            *(node.id, node.n_calls, node.n_runs),
            *(round(x, 3) for x in (risk.failure.estimate, risk.failure.low, risk.failure.high)),
            *(round(risk.dependents, 2), round(risk.value, 4)),
        )
        for node in found.riskiest
        if (risk := node.risk) is not None
    ]
    emit_rows(COLUMNS, rows, as_json)


@click.command()
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Of traces (UTC); else the newest.")
@as_json
@click.pass_obj
def probe(folder: Path, day: datetime | None, as_json: bool) -> None:
    """Let the generative judge read a day's traces where the graph says the risk is."""
    from flywheel.evolution.call_graph.probing import probe_day
    from flywheel.traces.importing import days_with_traces

    project = find_project(folder)
    days = days_with_traces(project.stores)
    if not days:
        raise NotEnough("days with traces", 0, 1)
    if day is not None and day.date() not in days:
        raise NotFound("day with traces", str(day.date()), [str(one) for one in days[-3:]])
    emit(probe_day(project, day.date() if day else days[-1]), as_json)

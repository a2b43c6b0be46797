"""`flywheel judge panel`: labels by panels of judges, and how far they can be believed."""

from datetime import datetime
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, plain, progress_bar
from flywheel.errors import BadSetting, NotEnough
from flywheel.store import find_project


@click.command()
@click.option(
    "--day", type=click.DateTime(["%Y-%m-%d"]), help="UTC day; else the last that has traces."
)
@click.option(
    "--limit", type=click.IntRange(1), help="So many of its traces; else panel.daily_traces."
)
@as_json
@click.pass_obj
def panel(folder: Path, day: datetime | None, limit: int | None, as_json: bool) -> None:
    """Let the panels label traces of a day, and hand people what they dispute.

    Every vote is kept as it comes, and none is asked for twice. Says how far people, who look at a
    random share of what a panel agreed on, found its labels wrong.
    """
    from flywheel.corrections import derive_labels
    from flywheel.judge.panel import panel_audit
    from flywheel.loop import label_by_panel
    from flywheel.traces.importing import days_with_traces

    project = find_project(folder)
    days = [day.date()] if day else days_with_traces(project.stores)[-1:]
    if not days:
        raise NotEnough("days with traces", 0, 1)
    with progress_bar("votes") as bar:
        report = label_by_panel(project, days[0], limit, bar)
    if report is None:
        raise BadSetting(
            "no panel labels anything: set panel.first to two or more of [judges.NAME], and "
            "panel.daily_traces or --limit"
        )
    if not report.drawn and report.unfinished:
        raise BadSetting("; ".join(report.unfinished))
    derive_labels(project.stores)
    audit = panel_audit(project.stores)
    emit(plain(report) | {"audit": plain(audit)}, as_json)

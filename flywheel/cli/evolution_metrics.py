"""`flywheel evolution metrics`: changes of the metric set, measured and proposed."""

from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, words
from flywheel.store import find_project


@click.command("metrics")
@click.option("--dry-run", is_flag=True, help="Measure, print and store nothing.")
@as_json
@click.pass_obj
def metrics(folder: Path, dry_run: bool, as_json: bool) -> None:
    """Ask a model how to change what is measured, and measure each change on labels."""
    from flywheel.evolution.metric_set.proposing import propose_metrics
    from flywheel.models.writer import writer_of

    project = find_project(folder)
    writer = writer_of(project.settings, project.stores.ledger)
    report = propose_metrics(project, writer, is_dry=dry_run)
    emit(report, as_json)
    for name, why in report.refused.items():
        words.print(f"{name} is refused: {why}", markup=False)
    for number in report.proposed:
        words.print(f"flywheel evolution show {number}", markup=False)


@click.command("rescore")
@click.argument("number", type=click.IntRange(1))
@as_json
@click.pass_obj
def rescore(folder: Path, number: int, as_json: bool) -> None:
    """Let an approved metric read every day that has traces; earlier versions stay beside it."""
    from flywheel.evolution.metric_set.rescoring import rescore_history
    from flywheel.evolution.proposals import find_proposal

    project = find_project(folder)
    found = find_proposal(project.stores.ledger, number)
    emit(rescore_history(project, found), as_json)

"""`flywheel evolution functions`: functions that an agent may call, learnt from tasks."""

from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, emit_rows, progress_bar, words
from flywheel.store import find_project


@click.command()
@click.option(
    "--tasks",
    "tasks_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines with id, question and answer; evolution.tasks unless given.",
)
@click.option("--dry-run", is_flag=True, help="Measure, and propose nothing.")
@click.option(
    "--log",
    "log_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where each task's calls and answer with the final functions are written.",
)
@as_json
@click.pass_obj
def functions(
    folder: Path, tasks_file: Path | None, dry_run: bool, log_file: Path | None, as_json: bool
) -> None:
    """Improve the functions of an agent on tasks with answers, and propose what is better."""
    from flywheel.evolution.functions.learning import learn_functions, write_log

    project = find_project(folder)
    with progress_bar("steps") as bar:
        learnt = learn_functions(project, tasks_file, propose_them=not dry_run, told=bar)
    if log_file:
        write_log(log_file, learnt.found)
    if as_json:
        emit(learnt.report(), as_json)
        return
    words.print(learnt.sentence, markup=False)
    rows = [
        (one.number, "accepted" if one.accepted else "rejected", ", ".join(one.actions), one.said)
        for one in learnt.found.steps
    ]
    emit_rows(("step", "outcome", "actions", "why"), rows, as_json=False)

"""`flywheel review`: what people decided, in."""

import sys
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, words
from flywheel.store import open_project


@click.group()
def review() -> None:
    """Decisions of people on traces."""


@review.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@as_json
@click.pass_obj
def import_(folder: Path, path: Path, as_json: bool) -> None:
    """Enter decisions from JSON lines: trace_id, perceived_error, reviewer, and more."""
    from flywheel.review import import_decisions

    report = import_decisions(open_project(folder).stores, path)
    emit(report, as_json)
    for row in report.rejected if not as_json else ():
        words.print(f"{row.file}:{row.line}: {row.why}", markup=False)


@review.command()
@click.option("--reviewer", required=True, help="Whose last decision is taken back.")
@as_json
@click.pass_obj
def undo(folder: Path, reviewer: str, as_json: bool) -> None:
    """Take back a reviewer's last decision that stands; again for the one before it."""
    from flywheel.review import undo as undo_last

    undone = undo_last(open_project(folder).stores.ledger, reviewer)
    if undone is None:
        words.print(f"nothing that {reviewer!r} did stands; nothing was undone")
        sys.exit(1)
    emit(undone, as_json)

"""`flywheel review`: what people decided, in and out."""

import getpass
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flywheel.cli.output import as_json, emit, refuse_unusable, words
from flywheel.records import EXPORT_FORMATS, SPLIT_EDGES, ExportFormat, Split
from flywheel.store import Stores, find_project

if TYPE_CHECKING:
    from flywheel.review.export import ExportReport


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

    report = import_decisions(find_project(folder).stores, path)
    if as_json:
        emit(report, as_json)
    else:
        emit(asdict(report) | {"rejected": len(report.rejected)}, as_json)
        for row in report.rejected:
            words.print(f"{row.file}:{row.line}: {row.why}", markup=False)
    refuse_unusable(report.rejected, report.new + report.duplicate)


@review.command()
@click.option(
    "--format", "format_name", type=click.Choice(EXPORT_FORMATS), required=True, help="Of the file."
)
@click.option("--out", required=True, help="File to write; - is stdout.")
@click.option(
    "--split",
    "splits",
    type=click.Choice([split for _, split in SPLIT_EDGES]),
    multiple=True,
    help="Only this split; may be given more than once.",
)
@click.option("--app", help="Only this application.")
@click.option("--include-sensitive", is_flag=True, help="Traces flagged as sensitive, too.")
@click.option("--force", is_flag=True, help="Replace the file where it exists.")
@as_json
@click.pass_obj
def export(
    folder: Path,
    format_name: ExportFormat,
    out: str,
    splits: tuple[Split, ...],
    app: str | None,
    include_sensitive: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write decisions and corrections to a file, in a format that trainers take."""
    from flywheel.review.export import export_decisions, write_decisions

    if out == "-" and as_json:
        raise click.UsageError("rows and --json cannot both go to stdout; give --out a file")
    stores = find_project(folder).stores
    _publish_missing(stores)
    actor = getpass.getuser()
    if out == "-":
        rows = sys.stdout.buffer
        _say(write_decisions(stores, format_name, rows, splits, include_sensitive, app, actor))
        return
    report = export_decisions(
        stores, format_name, Path(out), splits, include_sensitive, app, force, actor
    )
    if as_json:
        emit(report, as_json)
    else:
        _say(report)


def _publish_missing(stores: Stores) -> None:
    """Decisions from a file may speak of traces that were never in a queue."""
    from flywheel.review.export import versions_without_document
    from flywheel.traces.documents import publish_documents

    missing = versions_without_document(stores.ledger)
    if missing:
        publish_documents(stores, missing)


def _say(report: "ExportReport") -> None:
    words.print(
        f"{report.rows} rows of {report.traces} traces, with {report.corrections} corrections"
    )
    for why, n in report.left_out.items():
        words.print(f"left out: {why}: {n}", markup=False)
    if report.path != "-":
        for path in filter(None, (report.path, report.provenance)):
            click.echo(path)


@review.command()
@click.option("--reviewer", required=True, help="Whose last decision is taken back.")
@as_json
@click.pass_obj
def undo(folder: Path, reviewer: str, as_json: bool) -> None:
    """Take back a reviewer's last decision that stands; again for the one before it."""
    from flywheel.review import undo as undo_last

    undone = undo_last(find_project(folder).stores.ledger, reviewer)
    if undone is None:
        words.print(f"nothing that {reviewer!r} did stands; nothing was undone")
        sys.exit(1)
    emit(undone, as_json)

"""`flywheel traces`: files in, and what became of every line."""

import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flywheel.cli.forgetting import expire, forget
from flywheel.cli.output import as_json, emit, progress_bar, refuse_unusable, words
from flywheel.errors import BadInput
from flywheel.store import find_project, open_project

if TYPE_CHECKING:
    from flywheel.traces.importing import RejectedRow

# Rejected lines shown to a person; `--json` lists them all.
_SHOWN = 10


@click.group()
def traces() -> None:
    """Traces: import files, and see what is there."""


traces.add_command(forget)
traces.add_command(expire)


@traces.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "format_name", default="auto", show_default=True, help="Its name.")
@click.option("--app", help="Application of traces whose file names none.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Day of traces without a time.")
@click.option("--no-copy", is_flag=True, help="Keep the file where it is instead of a copy.")
@as_json
@click.pass_obj
def import_(
    folder: Path,
    paths: tuple[Path, ...],
    format_name: str,
    app: str | None,
    day: datetime | None,
    no_copy: bool,
    as_json: bool,
) -> None:
    """Import files or folders of traces; bad lines are named, and the good ones kept."""
    from flywheel.forgetting import reapply
    from flywheel.redaction import Redactor
    from flywheel.traces.importing import import_file

    project = open_project(folder)
    redactor = Redactor.of(project.settings.privacy)
    files = [file for path in paths for file in _files(path)]
    reports, refused = [], []
    with progress_bar("import") as bar:
        for number, file in enumerate(files):
            bar(number, len(files))
            try:
                report = import_file(
                    project.stores,
                    file,
                    format=format_name,
                    app=app,
                    day=day.date() if day else None,
                    copy=not no_copy,
                    redactor=redactor,
                )
            except BadInput as error:
                # Other files lie in folders too; one that was named is wanted.
                if file in paths:
                    raise
                refused.append(error)
            else:
                reports.append(report)
    if refused and not reports:
        raise refused[0]
    reapply(project)
    total = {
        name: sum(getattr(report, name) for report in reports)
        for name in ("read", "new", "duplicate", "changed")
    }
    rejected = [row for report in reports for row in report.rejected]
    _tell(total, rejected, refused, as_json)
    refuse_unusable(rejected, total["new"] + total["duplicate"] + total["changed"])


def _tell(
    total: dict[str, int], rejected: list["RejectedRow"], refused: list[BadInput], as_json: bool
) -> None:
    if as_json:
        emit(total | {"rejected": rejected, "refused": [str(why) for why in refused]}, as_json)
        return
    emit(total | {"rejected": len(rejected), "refused": len(refused)}, as_json)
    for why in refused:
        words.print(str(why).partition(";")[0], markup=False)
    for row in rejected[:_SHOWN]:
        words.print(f"{row.file}:{row.line}: {row.why}", markup=False)
    if len(rejected) > _SHOWN:
        words.print(f"and {len(rejected) - _SHOWN} more; --json lists all of them")


@traces.command("drain")
@as_json
@click.pass_obj
def drain(folder: Path, as_json: bool) -> None:
    """Bring in what applications have sent, as far as their traces are whole.

    The orchestrator does so by itself, every half minute that something comes.
    """
    from flywheel.forgetting import reapply
    from flywheel.traces.draining import drain_and_load

    project = find_project(folder)
    drained, imports = drain_and_load(project.stores, project.settings)
    reapply(project)
    emit(
        asdict(drained)
        | {
            "new": sum(report.new for report in imports),
            "changed": sum(report.changed for report in imports),
            "rejected": sum(len(report.rejected) for report in imports),
        },
        as_json,
    )


@traces.command("watch")
@click.option(
    "--settle-s",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="A file that does not change for so long is whole.",
)
@as_json
@click.pass_obj
def watch(folder: Path, settle_s: float, as_json: bool) -> None:
    """Import what is new in the folder that traces.watch names, each file once.

    The orchestrator does so by itself, every half minute.
    """
    from flywheel.forgetting import reapply
    from flywheel.traces.watching import import_watched, look_at, watched_folder

    project = find_project(folder)
    watched = watched_folder(project)
    if watched is None:
        raise BadInput("traces.watch names no folder; set it in flywheel.toml")
    look_at(project.stores.ledger, watched)
    time.sleep(settle_s)
    report = import_watched(project)
    reapply(project)
    emit(asdict(report), as_json)
    for why in [] if as_json else report.refused:
        words.print(why, markup=False)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    if not files:
        raise BadInput(f"the folder {path} holds no files")
    return files

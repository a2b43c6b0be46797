"""`flywheel traces`: files in, and what became of every line."""

from datetime import datetime
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, progress_bar, words
from flywheel.errors import BadInput
from flywheel.store import open_project

# Rejected lines shown to a person; `--json` lists them all.
_SHOWN = 10


@click.group()
def traces() -> None:
    """Traces: import files, and see what is there."""


@traces.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "format_name", default="auto", show_default=True, help="Or its name.")
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
    from flywheel.traces.importing import import_file

    project = open_project(folder)
    files = [file for path in paths for file in _files(path)]
    reports = []
    with progress_bar("import") as bar:
        for number, file in enumerate(files):
            bar(number, len(files))
            reports.append(
                import_file(
                    project.stores,
                    file,
                    format=format_name,
                    app=app,
                    day=day.date() if day else None,
                    copy=not no_copy,
                )
            )
    total = {
        name: sum(getattr(report, name) for report in reports)
        for name in ("read", "new", "duplicate", "changed")
    }
    rejected = [row for report in reports for row in report.rejected]
    if as_json:
        emit(total | {"rejected": rejected}, as_json)
        return
    emit(total | {"rejected": len(rejected)}, as_json)
    for row in rejected[:_SHOWN]:
        words.print(f"{row.file}:{row.line}: {row.why}", markup=False)
    if len(rejected) > _SHOWN:
        words.print(f"and {len(rejected) - _SHOWN} more; --json lists all of them")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    if not files:
        raise BadInput(f"the folder {path} holds no files")
    return files

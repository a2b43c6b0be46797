"""`flywheel backup` and `flywheel restore`: all of a project in one folder, and back."""

import sys
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, progress_bar, words
from flywheel.store import find_project


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--without-warehouse",
    is_flag=True,
    help="Leave out what can be made again; restoring takes longer.",
)
@click.option(
    "--link",
    is_flag=True,
    help="Hard links of artifacts in place of copies, where the disk is the same.",
)
@as_json
@click.pass_obj
def backup(folder: Path, out: Path, without_warehouse: bool, link: bool, as_json: bool) -> None:
    """Write all of a project to a new folder, while everybody works on.

    Ledger (from Postgres too), artifacts, warehouse, settings, metrics and tombstones, with a
    manifest of sizes and hashes. It appears whole or not at all, and holds secrets: keep it safe.
    """
    from flywheel.backup import back_up

    project = find_project(folder)
    with progress_bar("artifacts") as bar:
        report = back_up(project, out, not without_warehouse, link, bar)
    emit(report, as_json)
    for what, names in (("damaged", report.damaged), ("missing", report.missing)):
        if names:
            words.print(f"{what} before the backup was taken, and so in it: {', '.join(names)}")
    sys.exit(1 if report.damaged or report.missing else 0)


@click.command()
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Only read it, and say whether it is whole.")
@click.option("--replace", is_flag=True, help="Set aside what the project holds already.")
@click.option(
    "--tombstones",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="A folder with newer tombstones, where the project's own folder was lost.",
)
@as_json
@click.pass_obj
def restore(
    folder: Path, source: Path, check: bool, replace: bool, tombstones: Path | None, as_json: bool
) -> None:
    """Make a project of a backup, in the folder that --project names or in this one.

    The whole of it is read before anything is touched. A flywheel.toml that stands there stays, so
    that a backup can be moved to another ledger. Who was forgotten since is forgotten again.
    """
    from flywheel.backup import read_manifest, restore_project, verify

    with progress_bar("bytes") as bar:
        if check:
            manifest = read_manifest(source)
            verify(source, manifest, bar)
        else:
            report = restore_project(source, folder.absolute(), replace, tombstones, bar)
    if check:
        shown = {"taken_at": manifest.taken_at, "product": manifest.product}
        emit(shown | {"files": len(manifest.files), "n_bytes": manifest.n_bytes}, as_json)
        return
    emit(report, as_json)
    for path in report.kept:
        words.print(f"{path} stood there already and was kept")
    for path in report.set_aside:
        words.print(f"{path} is what was there before; remove it when it is not needed")

"""`flywheel registry`: versions, the champion, promotion and rollback."""

import getpass
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, emit_rows
from flywheel.store import open_project

_TARGET = "judge"


@click.group()
def registry() -> None:
    """Versions of the judge, and which of them is the champion."""


@registry.command("list")
@as_json
@click.pass_obj
def list_(folder: Path, as_json: bool) -> None:
    """Every version with its aliases and what the gate said of it."""
    from flywheel.registry import list_versions

    versions = list_versions(open_project(folder).stores.ledger, _TARGET)
    emit_rows(
        ["version", "aliases", "created", "gate"],
        [
            (
                v.version,
                v.aliases,
                v.created_at,
                v.verdict.why[-1] if v.verdict else "never a challenger",
            )
            for v in versions
        ],
        as_json,
    )


@registry.command()
@click.argument("version")
@click.option("--why", default="approved by hand", show_default=True, help="For the audit log.")
@click.option("--force", is_flag=True, help="Without a passing gate; the audit log says so.")
@as_json
@click.pass_obj
def promote(folder: Path, version: str, why: str, force: bool, as_json: bool) -> None:
    """Make VERSION the champion; the judge uses it from the next run on."""
    from flywheel.registry import promote as promote_version

    ledger = open_project(folder).stores.ledger
    emit(promote_version(ledger, _TARGET, version, getpass.getuser(), why, force=force), as_json)


@registry.command()
@as_json
@click.pass_obj
def rollback(folder: Path, as_json: bool) -> None:
    """Make the champion before this one the champion again."""
    from flywheel.registry import rollback as roll_back

    emit(roll_back(open_project(folder).stores.ledger, _TARGET, getpass.getuser()), as_json)


@registry.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.argument("version", default="champion")
@click.pass_obj
def export(folder: Path, out: Path, version: str) -> None:
    """Copy a version's files, the champion's unless named, to a new folder."""
    from flywheel.registry import export_version

    click.echo(export_version(open_project(folder).stores, _TARGET, version, out))

"""`flywheel ledger`: the database of what must never be lost, and its way to a server.

A command in, a report out; the one idea is that the last words say what is to be set now.
"""

from dataclasses import asdict
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, progress_bar, words
from flywheel.errors import BadInput

# A password stands in no file of the project.
NEXT = """Set this in flywheel.toml, or FLYWHEEL_LEDGER__URL where it has a password:
  [ledger]
  url = "{to}"
Then start again what runs. The old file takes nothing more; remove it once you trust the new
ledger, since whoever is forgotten later still stands in it."""


@click.group()
def ledger() -> None:
    """The database of what must never be lost."""


@ledger.command()
@click.option("--to", help="URL of an empty Postgres database; ledger.url unless given.")
@as_json
@click.pass_obj
def migrate(folder: Path, to: str | None, as_json: bool) -> None:
    """Move the ledger from its SQLite file to Postgres, whole or not at all."""
    from flywheel.store import find_project, ledger_in_file
    from flywheel.store.moving import move_ledger

    project = find_project(folder)
    source, target = ledger_in_file(project), to or project.stores.ledger.url
    if source.url == target:
        raise BadInput("name the database with --to, or in FLYWHEEL_LEDGER__URL")
    with progress_bar("rows") as bar:
        report = move_ledger(source, target, bar)
    source.close()
    emit(report, as_json)
    if source.url == project.stores.ledger.url:
        words.print(NEXT.format(**asdict(report)))

"""`flywheel evolution live`, `export` and `set-live`: the functions that agents may call."""

import getpass
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, emit_rows
from flywheel.store import find_project


@click.command("live")
@click.option("--all", "show_all", is_flag=True, help="Every version that was kept, too.")
@as_json
@click.pass_obj
def live_functions(folder: Path, show_all: bool, as_json: bool) -> None:
    """The functions that agents may call now, by name."""
    from flywheel.evolution.functions.store import list_functions

    rows = [
        (
            *(one.record.name, one.version[:12], "live" if one.is_live else ""),
            *(one.made_at, len(one.record.tests), one.record.description),
        )
        for one in list_functions(find_project(folder).stores.ledger)
        if one.is_live or show_all
    ]
    columns = ("function", "version", "live", "kept", "tests", "description")
    emit_rows(columns, rows, as_json)


@click.command("export")
@click.option(
    "--as",
    "form",
    type=click.Choice(["openai", "python"]),
    default="openai",
    help="Tools of OpenAI's chat completions, or a Python module.",
)
@click.pass_obj
def export_functions(folder: Path, form: str) -> None:
    """Print the live functions as other programs read them."""
    from flywheel.evolution.functions.export import as_module, as_tools
    from flywheel.evolution.functions.store import live_records

    live = live_records(find_project(folder).stores.ledger).values()
    click.echo(as_tools(live) if form == "openai" else as_module(live), nl=False)


@click.command("set-live")
@click.argument("name")
@click.argument("version")
@click.option("--why", required=True, help="For the audit log.")
@as_json
@click.pass_obj
def set_live(folder: Path, name: str, version: str, why: str, as_json: bool) -> None:
    """Go back to a version of a function that was kept, by the beginning of its hash."""
    from flywheel.evolution.functions.store import roll_back

    found = roll_back(find_project(folder).stores.ledger, name, version, getpass.getuser(), why)
    emit({"function": name, "version": found.version, "live": True}, as_json)

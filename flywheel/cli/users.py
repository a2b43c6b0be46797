"""`flywheel users`: who may sign in, without the page; for a first admin, and a last one.

What lets somebody in, a link or a key, is the one line on stdout.
"""

import getpass
from pathlib import Path

import click

from flywheel.cli.output import PORT, as_json, emit_rows, words
from flywheel.records import ROLES
from flywheel.settings import read_settings
from flywheel.store import find_project
from flywheel.store.ledger import Ledger

_port = click.option(
    "--port",
    type=PORT,
    default=3000,
    show_default=True,
    help="Of the link, where web.public_url is empty.",
)


@click.group()
def users() -> None:
    """People and programs that may use the web app and the API."""


@users.command("list")
@as_json
@click.pass_obj
def list_(folder: Path, as_json: bool) -> None:
    """Everybody who may come in, and how."""
    from flywheel.web.accounts import list_users

    rows = [
        (user.name, user.role, user.is_active, user.has_password, user.link_until, user.created_at)
        for user in list_users(_ledger(folder))
    ]
    columns = ["name", "role", "is_active", "has_password", "link_until", "created_at"]
    emit_rows(columns, rows, as_json)


@users.command()
@click.argument("name")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What the user may do.")
@_port
@click.pass_obj
def add(folder: Path, name: str, role: str, port: int) -> None:
    """Add a user, and print the link that lets them in, or the key where it is a program."""
    from flywheel.web.accounts import add_user, checked_role

    user = add_user(_ledger(folder), name, checked_role(role), getpass.getuser())
    if user.role == "service":
        _print_key(folder, user.name)
    else:
        _print_link(folder, user.name, port)


@users.command()
@click.argument("name")
@_port
@click.pass_obj
def link(folder: Path, name: str, port: int) -> None:
    """Print a new link with which a user chooses a password; those before it end."""
    _print_link(folder, name, port)


@users.command()
@click.argument("name")
@click.pass_obj
def key(folder: Path, name: str) -> None:
    """Print a new key of the HTTP API that acts as a user."""
    _print_key(folder, name)


@users.command()
@click.argument("name")
@click.pass_obj
def deactivate(folder: Path, name: str) -> None:
    """Let a user in no longer: sessions end, links and keys stop working."""
    from flywheel.web.accounts import set_active

    user = set_active(_ledger(folder), name, False, getpass.getuser())
    words.print(f"{user.name} may no longer come in", markup=False)


def _print_link(folder: Path, name: str, port: int) -> None:
    from flywheel.web.invitations import LINK_HOURS, new_link

    token = new_link(_ledger(folder), name, getpass.getuser())
    address = read_settings(folder).web.public_url.rstrip("/") or f"http://127.0.0.1:{port}"
    words.print(f"For {name}; it works once, for {LINK_HOURS} hours:", markup=False)
    click.echo(f"{address}/welcome/{token}")


def _print_key(folder: Path, name: str) -> None:
    from flywheel.web.keys import new_key

    secret = new_key(_ledger(folder), name, getpass.getuser())
    words.print(f"It acts as {name}, and is shown only now:", markup=False)
    click.echo(secret)


def _ledger(folder: Path) -> Ledger:
    return find_project(folder).stores.ledger

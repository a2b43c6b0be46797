"""`flywheel traces forget` and `expire`: what must go, and a receipt of what went."""

from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, words
from flywheel.errors import BadInput
from flywheel.store import find_project


@click.command()
@click.option("--user", help="Who it is, as `user_id` of the traces has it.")
@click.option("--app", help="In this application alone.")
@click.option("--again", is_flag=True, help="Everybody who was forgotten, in every store.")
@as_json
@click.pass_obj
def forget(folder: Path, user: str | None, app: str | None, again: bool, as_json: bool) -> None:
    """Remove everything of a user from every store, and print a receipt that names nobody.

    A tombstone is left beside flywheel.toml, so that an import, a rebuild or an older copy of the
    data folder does not bring anything back. Killed and run again, it completes.
    """
    from flywheel.forgetting import forget_user, reapply

    project = find_project(folder)
    if (user is None) == (not again):
        raise BadInput("name one of --user, whom to forget, and --again, everybody once more")
    receipt = reapply(project, force=True) if user is None else forget_user(project, user, app)
    if receipt is None:
        words.print("nobody was ever forgotten here")
        emit({}, as_json)
        return
    emit(receipt, as_json)
    if user is not None and not any(receipt.removed.values()):
        words.print(
            "nothing of such a user was here, and the name is kept out from now on: is it right?"
        )
    for name in receipt.left_in_place:
        words.print(f"{name} was imported without a copy, and still holds them", markup=False)
    if not receipt.is_clean:
        words.print("the ledger was in use, and its files may hold deleted text: run it again")


@click.command()
@as_json
@click.pass_obj
def expire(folder: Path, as_json: bool) -> None:
    """Remove traces that are older than traces.retention_days, or than their application allows.

    The orchestrator does so by itself, every night.
    """
    from flywheel.forgetting import expire as expire_traces

    receipt = expire_traces(find_project(folder))
    if receipt is None:
        words.print("nothing is too old")
    emit(receipt or {}, as_json)

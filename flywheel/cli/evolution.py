"""`flywheel evolution`: what programs propose to change, and what people say to it."""

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from flywheel.cli.output import as_json, emit, emit_rows
from flywheel.store import find_project

Decided = TypeVar("Decided", bound=Callable[..., Any])


@click.group()
def evolution() -> None:
    """Metrics, functions, cases and formats, improved by proposals that people approve."""


def _of_one(command: Decided) -> Decided:
    """The arguments of whatever is decided of one proposal."""
    with_why = click.option("--why", required=True, help="For the audit log.")(command)
    return click.argument("number", type=click.IntRange(1))(with_why)


@evolution.command("proposals")
@click.option(
    "--status", type=click.Choice(["open", "approved", "rejected", "undone"]), help="Those alone."
)
@as_json
@click.pass_obj
def list_(
    folder: Path,
    status: Literal["open", "approved", "rejected", "undone"] | None,
    as_json: bool,
) -> None:
    """What is proposed, those that wait first, with what was measured of it."""
    from flywheel.evolution.proposals import list_proposals

    found = list_proposals(find_project(folder).stores.ledger, status)
    columns = ("proposal", "status", "change", "kind", "subject", "evidence")
    rows = [
        (
            *(one.proposal_id, one.status, one.draft.change, one.draft.kind, one.draft.subject),
            one.draft.evidence.sentence,
        )
        for one in found
    ]
    emit_rows(columns, rows, as_json)


@evolution.command()
@_of_one
@click.option(
    "--text",
    "text_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file whose text is approved in the place of the proposal's own.",
)
@as_json
@click.pass_obj
def approve(folder: Path, number: int, why: str, text_file: Path | None, as_json: bool) -> None:
    """Carry a proposal out."""
    from flywheel.evolution import proposals
    from flywheel.evolution.keepers import keeper_of
    from flywheel.evolution.kept_files import read_kept

    project = find_project(folder)
    done = proposals.approve(
        project=project,
        keeper=keeper_of(proposals.find_proposal(project.stores.ledger, number).draft.kind),
        proposal_id=number,
        actor=getpass.getuser(),
        why=why,
        text=read_kept(text_file) if text_file else None,
    )
    emit({"proposal": number, "status": done.status, "subject": done.draft.subject}, as_json)


@evolution.command()
@_of_one
@as_json
@click.pass_obj
def reject(folder: Path, number: int, why: str, as_json: bool) -> None:
    """Turn a proposal down; the same change is not proposed again."""
    from flywheel.evolution import proposals

    ledger = find_project(folder).stores.ledger
    done = proposals.reject(ledger, number, getpass.getuser(), why)
    emit({"proposal": number, "status": done.status, "subject": done.draft.subject}, as_json)


@evolution.command()
@_of_one
@as_json
@click.pass_obj
def undo(folder: Path, number: int, why: str, as_json: bool) -> None:
    """Take an approved proposal back: what stood before is in force again."""
    from flywheel.evolution import proposals
    from flywheel.evolution.keepers import keeper_of

    project = find_project(folder)
    done = proposals.undo(
        project=project,
        keeper=keeper_of(proposals.find_proposal(project.stores.ledger, number).draft.kind),
        proposal_id=number,
        actor=getpass.getuser(),
        why=why,
    )
    emit({"proposal": number, "status": done.status, "subject": done.draft.subject}, as_json)

"""`flywheel registry`: versions of every target, their cards and lineage, promotion, exports."""

import getpass
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from flywheel.cli.output import as_json, emit, emit_rows, words
from flywheel.records import JUDGE_TARGET
from flywheel.store import find_project
from flywheel.store.ledger import Ledger

_of_target = click.option(
    "--target", default=JUDGE_TARGET, show_default=True, help="What is retrained, by its name."
)
_why = click.option("--why", default="", help="For the audit log.")


@click.group()
def registry() -> None:
    """Versions of judges and models, and which of them is the champion."""


@registry.command("list")
@click.option("--target", default="", help="Of this target alone; otherwise of all.")
@as_json
@click.pass_obj
def list_(folder: Path, target: str, as_json: bool) -> None:
    """Every version with its aliases and what the gate said of it."""
    from flywheel.registry import known_targets, list_versions

    ledger = _ledger(folder)
    targets = [target] if target else known_targets(ledger) or [JUDGE_TARGET]
    found = [version for each in targets for version in list_versions(ledger, each)]
    emit_rows(
        ["target", "version", "aliases", "created", "gate"],
        [
            (
                v.target,
                v.version,
                v.aliases,
                v.created_at,
                v.verdict.why[-1] if v.verdict else "never a challenger",
            )
            for v in found
        ],
        as_json,
    )


@registry.command()
@click.argument("version", default="champion")
@_of_target
@as_json
@click.pass_obj
def show(folder: Path, version: str, target: str, as_json: bool) -> None:
    """What is known of VERSION, the champion unless named: its identity, limits and moves."""
    from flywheel.in_use import prompt_of
    from flywheel.registry import card_of

    project = find_project(folder)
    card = card_of(project.stores, target, version, prompt_of(project))
    if as_json:
        emit(card, as_json)
        return
    last = card.findings[0] if card.findings else None
    emit(
        {
            "version": card.version,
            "what": card.what,
            "aliases": card.aliases,
            "created": card.created_at,
            "base": card.base,
            "training set": card.training_set,
            "decisions": card.learnt,
            "gate": last.outcome if last else "never a challenger",
            "why": " ".join(last.why) if last else None,
            "limits": " ".join(card.limits),
        },
        as_json,
    )


@registry.command()
@click.argument("version")
@_of_target
@click.option("--why", default="approved by hand", show_default=True, help="For the audit log.")
@click.option("--force", is_flag=True, help="Without a passing gate; the audit log says so.")
@as_json
@click.pass_obj
def promote(folder: Path, version: str, target: str, why: str, force: bool, as_json: bool) -> None:
    """Make VERSION the champion; it is used from the next run on."""
    from flywheel.registry import promote as promote_version

    _moved(
        folder,
        as_json,
        lambda ledger, who: promote_version(ledger, target, version, who, why, force),
    )


@registry.command()
@_of_target
@_why
@as_json
@click.pass_obj
def rollback(folder: Path, target: str, why: str, as_json: bool) -> None:
    """Make the champion before this one the champion again; a target's first one is none any more.

    Before a target's first champion, its applications are read by the judge of all the others, and
    a model answers without an adapter.
    """
    from flywheel.registry import rollback as roll_back

    moved = roll_back(_ledger(folder), target, getpass.getuser(), why)
    emit(moved, as_json)
    if moved.current is None:
        words.print(
            f"{target} has no champion any more, and what was in use before {moved.previous} is "
            "again, from the next run on: the judge of all other applications, or the model "
            "without an adapter"
        )


@registry.command()
@click.argument("version", required=False)
@_of_target
@click.option("--clear", is_flag=True, help="Nothing scores beside the champion any more.")
@_why
@as_json
@click.pass_obj
def shadow(
    folder: Path, version: str | None, target: str, clear: bool, why: str, as_json: bool
) -> None:
    """Let VERSION score beside the champion, its verdicts kept apart; --clear ends that."""
    from flywheel.registry import clear_shadow, set_shadow

    if (version is None) != clear:
        raise click.UsageError("name a VERSION, or --clear")
    if version is None:
        _moved(
            folder, as_json, lambda ledger, who: {"cleared": clear_shadow(ledger, target, who, why)}
        )
    else:
        _moved(folder, as_json, lambda ledger, who: set_shadow(ledger, target, version, who, why))


@registry.command()
@click.argument("version", required=False)
@_of_target
@click.option("--decision", type=int, help="The versions that this decision made, instead.")
@click.option(
    "--limit",
    default=50,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Rows, at most.",
)
@as_json
@click.pass_obj
def lineage(
    folder: Path, version: str | None, target: str, decision: int | None, limit: int, as_json: bool
) -> None:
    """The decisions that made VERSION, newest first; or the versions that a decision made."""
    from flywheel.registry import decisions_behind, find_version, versions_made_by

    if (version is None) == (decision is None):
        raise click.UsageError("name a VERSION, or a --decision")
    ledger = _ledger(folder)
    found: list[Any]
    if decision is not None:
        columns = ["target", "version", "part", "created_at", "aliases"]
        found = versions_made_by(ledger, decision)
    else:
        columns = ["decision_id", "part", "kind", "trace_id", "reviewer", "decided_at"]
        columns += ["perceived_error", "is_correction"]
        of = find_version(ledger, target, str(version))
        found = decisions_behind(ledger, of.version, limit=limit)
    rows = [asdict(one) for one in found]
    if not rows and decision is not None:
        words.print("none: what stands in the holdout, or came after a training, made no version")
    emit_rows(columns, [[row[name] for name in columns] for row in rows], as_json)


@registry.command()
@click.argument("version", default="champion")
@_of_target
@as_json
@click.pass_obj
def card(folder: Path, version: str, target: str, as_json: bool) -> None:
    """The evaluation card of VERSION, the champion unless named, as Markdown or JSON; kept too."""
    from flywheel.registry import card_json, card_markdown, card_of, keep_card

    stores = find_project(folder).stores
    made = card_of(stores, target, version)
    keep_card(stores, target, made.version)
    click.echo(card_json(made) if as_json else card_markdown(made), nl=False)


@registry.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["peft", "vllm", "merged"]),
    default="peft",
    show_default=True,
    help="The adapter as it is; with a chat template and the command for vLLM; or one model.",
)
@click.option("--base", default="", help="Where the base model is, if not where it was.")
@_of_target
@as_json
@click.argument("version", default="champion")
@click.pass_obj
def export(
    folder: Path,
    out: Path,
    form: Literal["peft", "vllm", "merged"],
    base: str,
    target: str,
    as_json: bool,
    version: str,
) -> None:
    """Write a version's files, the champion's unless named, and its card to a new folder."""
    from flywheel.registry import export_version

    made = export_version(find_project(folder).stores, target, version, out, form, base)
    if as_json:
        emit(made, as_json)
        return
    click.echo(made.folder)
    if made.command:
        words.print(made.command)


def _ledger(folder: Path) -> Ledger:
    return find_project(folder).stores.ledger


def _moved(folder: Path, as_json: bool, move: Callable[[Ledger, str], object]) -> None:
    """Make a move as the user of this machine, and say what moved."""
    emit(move(_ledger(folder), getpass.getuser()), as_json)

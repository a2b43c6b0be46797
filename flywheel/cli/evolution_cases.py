"""`flywheel evolution cases`: what tests an application, and what of it is covered."""

import getpass
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, emit_rows, words
from flywheel.store import find_project


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def cases(context: click.Context, as_json: bool) -> None:
    """Cases for testing an application; by itself: what the kept ones cover."""
    if context.invoked_subcommand:
        return
    from flywheel.evolution.cases.proposing import all_plans, kept_coverage

    project = find_project(context.obj)
    found = [kept_coverage(project, name) for name in all_plans(project)]
    rows = [
        (one.name, one.cases, one.pairs.covered, one.pairs.of, _pair(one.pairs.missing))
        for one in found
    ]
    emit_rows(("dimensions", "cases", "pairs covered", "of", "open, for one"), rows, as_json)
    if not rows:
        words.print("There are no dimensions yet; start with: flywheel evolution cases new NAME")


@cases.command()
@click.argument("name")
@click.pass_obj
def new(folder: Path, name: str) -> None:
    """Write cases/NAME.toml, dimensions to begin with."""
    from flywheel.errors import Refused
    from flywheel.evolution.cases.dimensions import START
    from flywheel.evolution.cases.keeping import case_path
    from flywheel.evolution.kept_files import read_kept, write_kept

    path = case_path(find_project(folder), f"{name}.toml")
    if read_kept(path) is not None:
        raise Refused(f"{path.name} is there; edit it, or choose another name")
    write_kept(path, START)
    click.echo(path)


@cases.command()
@click.argument("name")
@click.option("--no-model", is_flag=True, help="Plain English by code; dimensions of wording wait.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Other rows and questions.")
@click.option("--dry-run", is_flag=True, help="Propose nothing; print the questions.")
@as_json
@click.pass_obj
def make(folder: Path, name: str, no_model: bool, seed: int, dry_run: bool, as_json: bool) -> None:
    """Propose the cases that cases/NAME.toml asks for and cases/NAME.jsonl lacks."""
    from flywheel.errors import BadSetting
    from flywheel.evolution.cases.dimensions import folder_of, plan_named
    from flywheel.evolution.cases.proposing import propose_cases
    from flywheel.models.writer import writer_of

    project = find_project(folder)
    plan_named(folder_of(project.folder), name)
    if not no_model and not project.settings.evolution.model:
        raise BadSetting(
            "evolution.model names no model to word the questions; write the NAME of an endpoint "
            "under [judges.NAME], or give --no-model for plain English"
        )
    writer = None if no_model else writer_of(project.settings, project.stores.ledger)
    made, proposed = propose_cases(project, name, writer, seed=seed, is_dry=dry_run)
    if dry_run:
        rows = [(one.case, one.question, len(one.answer)) for one in made.cases]
        emit_rows(("case", "question", "answers"), rows, as_json)
        return
    report = {
        "cases": len(made.cases),
        "covered_before": made.before.covered,
        "covered_after": made.after.covered,
        "pairs": made.after.of,
        "named_by_review": [f"{dimension} {value}" for dimension, value in made.review.more],
        "left_out": dict(made.left_out),
        "notes": made.notes,
        "proposals": [one.proposal_id for one in proposed],
    }
    emit(report, as_json)


@cases.command()
@click.option("--dry-run", is_flag=True, help="Propose nothing.")
@as_json
@click.pass_obj
def regressions(folder: Path, dry_run: bool, as_json: bool) -> None:
    """Propose a case for each answer that people corrected, outside the holdout."""
    from flywheel.evolution.cases.proposing import propose_regressions

    found, proposed = propose_regressions(find_project(folder), dry_run)
    report = {
        "corrections": found.corrections,
        "cases": len(found.cases),
        "left_out": dict(found.left_out),
        "proposals": [proposed.proposal_id] if proposed else [],
    }
    emit(report, as_json)


@cases.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON lines.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@as_json
@click.pass_obj
def export(folder: Path, out: Path, force: bool, as_json: bool) -> None:
    """Write every kept case whole; a regression case with the words of its trace."""
    from flywheel.evolution.cases.exporting import export_cases

    emit(export_cases(find_project(folder), out, getpass.getuser(), force), as_json)


def _pair(missing: tuple[tuple[tuple[str, str], tuple[str, str]], ...]) -> str:
    return " with ".join(f"{name} {value}" for name, value in missing[0]) if missing else "-"

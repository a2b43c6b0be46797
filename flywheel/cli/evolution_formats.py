"""`flywheel evolution formats`: how rows and traces are written for a model to read."""

from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, emit_rows, progress_bar, words
from flywheel.store import find_project


@click.group()
def formats() -> None:
    """The cheapest way to show a model rows, or a judge traces, that it reads no worse."""


@formats.command()
@click.option("--shape", default="flat", show_default=True, help="Made-up rows: flat or nested.")
@click.option("--dimensions", default="", help="NAME of cases/NAME.toml, for its rows.")
@click.option(
    "--cases",
    "n",
    type=click.IntRange(1, 5000),
    default=200,
    show_default=True,
    help="Questions that are asked in every format.",
)
@click.option("--model", default="", help="Of [judges.NAME]; evolution.model without it.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Other rows and questions.")
@click.option("--dry-run", is_flag=True, help="Propose nothing.")
@as_json
@click.pass_obj
def rows(
    folder: Path,
    shape: str,
    dimensions: str,
    n: int,
    model: str,
    seed: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Ask a model about rows in every format, and propose the cheapest that is no worse."""
    from flywheel.evolution.formats.proposing import Wanted, propose_row_format
    from flywheel.evolution.formats.tokens import counter_of
    from flywheel.models.writer import endpoint_of

    project = find_project(folder)
    asked = endpoint_of(project.settings, project.stores.ledger, model)
    tokenizer = project.settings.evolution.tokenizer
    tokens_of = counter_of(tokenizer) if tokenizer else None
    wanted = Wanted(shape, dimensions, n, seed, tokenizer)
    with progress_bar("questions") as bar:
        found = propose_row_format(project, asked, wanted, tokens_of, is_dry=dry_run, progress=bar)
    _report(found, as_json)


@formats.command()
@click.option("--longest", type=click.IntRange(50), default=2_000, show_default=True,
              help="Characters that a long message is cut to.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Propose nothing.")
@as_json
@click.pass_obj
def judge(folder: Path, longest: int, dry_run: bool, as_json: bool) -> None:
    """Let the generative judge read labelled traces with and without tools, whole and cut."""
    from flywheel.evolution.formats.judged_text import propose_judged_text

    project = find_project(folder)
    with progress_bar("verdicts") as bar:
        found = propose_judged_text(project, longest, is_dry=dry_run, progress=bar)
    _report(found, as_json)


@formats.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "name", default="", help="Another than the one that was approved.")
@click.pass_obj
def write(folder: Path, file: Path, name: str) -> None:
    """Print rows of a JSON file in the format that was approved; JSON where it cannot be."""
    from flywheel.evolution.cases.rows import read_rows
    from flywheel.evolution.formats.keeping import DEFAULT, row_format
    from flywheel.evolution.formats.writing import FORMATS, why_not, write_rows

    found = read_rows(file)
    chosen = name or row_format(find_project(folder))
    if not name and (why := why_not(FORMATS[chosen], found)):
        words.print(f"written as {DEFAULT}, not {chosen}: {why}", markup=False)
        chosen = DEFAULT
    click.echo(write_rows(found, chosen))


def _report(found: object, as_json: bool) -> None:
    from flywheel.evolution.formats.proposing import Compared

    assert isinstance(found, Compared)
    choice = found.choice
    if as_json:
        emit(found, as_json)
        return
    columns = ("format", "right", "tokens of a case", "saves", "won", "lost", "loses at most", "is")
    emit_rows(
        columns,
        [
            (
                *(one.name, _share(one.accuracy.estimate), round(one.tokens.estimate, 1)),
                *(_share(one.saving), one.wins, one.losses, _share(one.loss_bound), one.state),
            )
            for one in choice.arms
        ],
        as_json,
    )
    words.print(found.evidence.sentence, markup=False)
    for note in found.evidence.notes:
        words.print(note, markup=False)
    if found.proposal:
        words.print(f"proposal {found.proposal.proposal_id}", markup=False)


def _share(value: float) -> str:
    return f"{value:.1%}"

"""`flywheel training`: fit a judge on a file of labels."""

from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, progress_bar, words
from flywheel.errors import BadInput
from flywheel.store import open_project

_FILE = click.Path(path_type=Path)


@click.group()
def training() -> None:
    """Retraining from labels and corrections."""


@training.command()
@click.option("--labels", "path", type=_FILE, required=True, help="JSON lines with labels.")
@click.option("--out", type=_FILE, required=True, help="A new folder for the judge.")
@click.option("--seed", type=int, help="Else the setting training.seed.")
@click.option("--no-lora", is_flag=True, help="Stop at the frozen tier: seconds, not minutes.")
@as_json
@click.pass_obj
def fit(
    folder: Path, path: Path, out: Path, seed: int | None, no_lora: bool, as_json: bool
) -> None:
    """Fit every tier of a judge on a file of labelled traces."""
    from flywheel.judge.files import save_judge
    from flywheel.loop import embedder_of, levers_of
    from flywheel.traces.labelled import read_conversations, require_both_classes
    from flywheel.training.fit import fit_judge

    if out.exists():
        raise BadInput(f"{out} exists already; name a new folder")
    project = open_project(folder)
    file = read_conversations(path, levers_of(project))
    for line in file.rejected:
        words.print(line, markup=False)
    require_both_classes(file.labelled)
    settings = project.settings.training
    if seed is not None:
        settings = settings.model_copy(update={"seed": seed})
    with progress_bar("fit") as bar:
        judge, report = fit_judge(
            file.labelled,
            [],
            embedder_of(project),
            levers_of(project),
            settings,
            bar,
            with_lora=not no_lora,
        )
    save_judge(judge, out, {"labels": path.name, "seed": settings.seed, "fit": report.as_dict()})
    emit({"out": str(out), "judge": judge.version} | report.as_dict(), as_json)

"""`flywheel training`: fit a judge on a file of labels, or an adapter on a file of examples."""

import shutil
from pathlib import Path
from typing import get_args

import click

from flywheel.cli.output import as_json, emit, progress_bar, words
from flywheel.errors import BadInput
from flywheel.records import JUDGE_TARGET, Arm
from flywheel.settings import TrainingSettings
from flywheel.store import Project, find_project

_FILE = click.Path(path_type=Path)


@click.group()
def training() -> None:
    """Retraining from labels and corrections."""


@training.command()
@click.option(
    "--target",
    type=click.Choice([JUDGE_TARGET, "app"]),
    default=JUDGE_TARGET,
    show_default=True,
    help="What is fitted: a judge, or an application's own model.",
)
@click.option("--labels", type=_FILE, help="JSON lines with labels, for a judge.")
@click.option("--examples", type=_FILE, help="JSON lines with messages and grades, for an app.")
@click.option(
    "--arm",
    type=click.Choice(get_args(Arm)),
    default="nat",
    show_default=True,
    help="How an app's model learns from failures.",
)
@click.option("--base", help="A causal model of a hub or a folder, for an app.")
@click.option("--out", type=_FILE, required=True, help="A new folder for what is fitted.")
@click.option("--seed", type=int, help="Else the setting training.seed.")
@click.option("--no-lora", is_flag=True, help="Stop at the frozen tier: seconds, not minutes.")
@as_json
@click.pass_obj
def fit(
    folder: Path,
    target: str,
    labels: Path | None,
    examples: Path | None,
    arm: Arm,
    base: str | None,
    out: Path,
    seed: int | None,
    no_lora: bool,
    as_json: bool,
) -> None:
    """Fit every tier of a judge on labelled traces, or an app's adapter on examples."""
    if out.exists():
        raise BadInput(f"{out} exists already; name a new folder")
    project = find_project(folder)
    settings = project.settings.training
    if seed is not None:
        settings = settings.model_copy(update={"seed": seed})
    if target == JUDGE_TARGET:
        if labels is None or examples is not None:
            raise click.UsageError("a judge is fitted on --labels FILE")
        emit(_fit_judge(project, labels, out, settings, not no_lora), as_json)
        return
    if examples is None or labels is not None or not base:
        raise click.UsageError("an app's model is fitted on --examples FILE and --base NAME")
    emit(_fit_app(project, examples, base, arm, out, settings), as_json)


def _fit_judge(
    project: Project, labels: Path, out: Path, settings: TrainingSettings, with_lora: bool
) -> dict[str, object]:
    from flywheel.in_use import embedder_of, levers_of
    from flywheel.judge.certifying import Goal
    from flywheel.judge.files import save_judge
    from flywheel.traces.labelled import read_conversations, require_both_classes
    from flywheel.training.fit import fit_judge

    file = read_conversations(labels, levers_of(project))
    for line in file.rejected:
        words.print(line, markup=False)
    require_both_classes(file.labelled)
    wanted = project.settings.judge
    goal = Goal(wanted.target_agreement, wanted.certify_alpha)
    with progress_bar("fit") as bar:
        judge, report = fit_judge(
            file.labelled,
            [],
            embedder_of(project),
            levers_of(project),
            settings,
            bar,
            with_lora=with_lora,
            goal=goal,
        )
    save_judge(judge, out, {"labels": labels.name, "seed": settings.seed, "fit": report.as_dict()})
    return {"out": str(out), "judge": judge.version} | report.as_dict()


def _fit_app(
    project: Project, path: Path, base: str, arm: Arm, out: Path, settings: TrainingSettings
) -> dict[str, object]:
    from flywheel.training.causal.fit import fit_causal
    from flywheel.training.causal.report import Purpose
    from flywheel.training.examples.arms import arm_rows
    from flywheel.training.examples.files import read_examples

    file = read_examples(path)
    for line in file.rejected:
        words.print(line, markup=False)
    # A fit that was killed goes on from here when the same command is run again.
    work = out.with_name(f"{out.name}.checkpoints")
    with progress_bar("fit") as bar:
        report = fit_causal(
            arm_rows(file.train, arm),
            file.validation,
            base,
            settings,
            out,
            work,
            bar,
            Purpose("app", path.name),
            project.settings.compute.threads,
            lambda sentence: words.print(sentence, markup=False),
        )
    shutil.rmtree(work, ignore_errors=True)
    return {"out": str(out)} | report.as_dict()


_TARGET = click.option(
    "--target", default=JUDGE_TARGET, show_default=True, help="What is retrained, by its name."
)


@training.command()
@_TARGET
@as_json
@click.pass_obj
def freeze(folder: Path, target: str, as_json: bool) -> None:
    """Freeze what a target learns from now, and count what was left out, by its reason."""
    from flywheel.retraining import labels_in, take_set
    from flywheel.training.targets import target_named

    project = find_project(folder)
    taken = take_set(project, target_named(project.settings, target))
    emit(
        {
            "training_set": taken.name,
            "decisions considered": len(taken.considered),
            "learnt from": labels_in(taken),
            "left out": dict(taken.left_out),
        },
        as_json,
    )


@training.command()
@_TARGET
@as_json
@click.pass_obj
def retrain(folder: Path, target: str, as_json: bool) -> None:
    """Train a challenger of a target now, whether it is due or not, and ask the gate."""
    from flywheel.retraining import retrain as run
    from flywheel.training.targets import target_named

    project = find_project(folder)
    with progress_bar("retrain") as bar:
        verdict = run(project, bar, target_named(project.settings, target))
    emit(
        {
            "target": target,
            "challenger": verdict.challenger,
            "champion": verdict.champion,
            "passed": verdict.passed,
            "why": " ".join(verdict.why),
        },
        as_json,
    )

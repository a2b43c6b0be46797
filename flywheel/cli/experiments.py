"""`flywheel experiments`: arms for sessions, what they say by now, and the end of it."""

import getpass
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from flywheel.cli.output import as_json, emit, emit_rows
from flywheel.errors import BadInput
from flywheel.store import find_project

if TYPE_CHECKING:
    from flywheel.experiments.experiment import Value


@click.group()
def experiments() -> None:
    """Prompts, few-shot policies, judges or adapters compared on production's sessions."""


@experiments.command()
@click.argument("name")
@click.option(
    "--kind",
    required=True,
    type=click.Choice(["prompt", "few-shots", "judge", "adapter"]),
    help="What the arms stand for.",
)
@click.option(
    "--arm",
    "arms",
    required=True,
    multiple=True,
    metavar="NAME[=VALUE]",
    help="An arm and what it stands for, as JSON or a word; the first is compared with.",
)
@click.option("--share", "shares", multiple=True, type=float, help="Of each arm; else all alike.")
@click.option("--app", default="", help="Of this application alone.")
@click.option(
    "--outcome", help="perceived_error, verdict, feedback:NAME, metric:NAME, or right (of judges)."
)
@click.option(
    "--difference",
    default=0.05,
    show_default=True,
    help="The least difference that matters; of a share, 0.05 is five points.",
)
@click.option(
    "--alpha", default=0.05, show_default=True, help="Chance of ever concluding what is not so."
)
@click.option(
    "--least-sessions", default=50, show_default=True, help="An arm, before anything is said."
)
@as_json
@click.pass_obj
def start(
    folder: Path,
    name: str,
    kind: Literal["prompt", "few-shots", "judge", "adapter"],
    arms: Sequence[str],
    shares: Sequence[float],
    app: str,
    outcome: str | None,
    difference: float,
    alpha: float,
    least_sessions: int,
    as_json: bool,
) -> None:
    """Give sessions arms from now on; what is settled here cannot be changed later."""
    from flywheel.experiments import experiment as plans
    from flywheel.experiments.running import start_experiment

    if shares and len(shares) != len(arms):
        raise BadInput(f"{len(shares)} shares for {len(arms)} arms; give one each, or none")
    parts = [_arm(arm, is_json=kind in ("prompt", "few-shots")) for arm in arms]
    made = start_experiment(
        find_project(folder).stores.ledger,
        name,
        kind,
        [
            plans.ExperimentArm(arm, share, value)
            for (arm, value), share in zip(
                parts, shares or plans.equal_shares(len(arms)), strict=True
            )
        ],
        plans.Plan(outcome or plans.default_outcome(kind), difference, alpha, least_sessions),
        getpass.getuser(),
        app,
    )
    emit(made, as_json)


@experiments.command("list")
@as_json
@click.pass_obj
def list_(folder: Path, as_json: bool) -> None:
    """Every experiment with what it said at its last look."""
    from flywheel.experiments.publishing import published_experiments
    from flywheel.experiments.running import list_experiments

    stores = find_project(folder).stores
    said = {one.reading.experiment: one.reading for one in published_experiments(stores)}
    rows = [
        (
            *(one.name, one.kind, one.app or "all", one.started_at, one.stopped_at),
            one.conclusion or (said[one.name].conclusion if one.name in said else "no look yet"),
        )
        for one in list_experiments(stores.ledger)
    ]
    emit_rows(["name", "kind", "app", "started", "stopped", "conclusion"], rows, as_json)


@experiments.command()
@click.argument("name")
@as_json
@click.pass_obj
def show(folder: Path, name: str, as_json: bool) -> None:
    """Look at an experiment now; looking often costs nothing."""
    from flywheel.experiments.publishing import look_at_experiments, published_reading
    from flywheel.experiments.running import get_experiment

    stores = find_project(folder).stores
    experiment = get_experiment(stores.ledger, name)
    if experiment.is_running:
        look_at_experiments(stores)
    reading = published_reading(stores, name)
    if as_json or reading is None:
        emit({"experiment": experiment, "reading": reading}, as_json)
        return
    emit_rows(
        ["arm", "share", "given", "with traces", "with outcome", "labels", reading.outcome],
        [
            (
                *(arm.arm, arm.planned, arm.n_exposed, arm.n_arrived, arm.n_sessions),
                *(arm.n_labels, arm.why if arm.estimate is None else arm.estimate),
            )
            for arm in reading.arms
        ],
        as_json,
    )
    click.echo(experiment.conclusion or reading.conclusion)


@experiments.command()
@click.argument("name")
@click.option("--why", default="", help="What to add to the conclusion, for the audit log.")
@as_json
@click.pass_obj
def stop(folder: Path, name: str, why: str, as_json: bool) -> None:
    """End NAME with what its last look said; every session has the first arm from now on."""
    from flywheel.experiments.publishing import conclude

    emit(conclude(find_project(folder).stores, name, getpass.getuser(), why), as_json)


def _arm(said: str, is_json: bool) -> "tuple[str, Value]":
    """An arm's name and what it stands for: JSON where it is any, else the words themselves."""
    name, is_given, value = said.partition("=")
    if not is_given:
        return name, None
    try:
        return name, json.loads(value) if is_json else value
    except ValueError:
        return name, value

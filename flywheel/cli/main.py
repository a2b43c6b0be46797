"""The root of the command line, and the commands that span stages."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import click

from flywheel import __version__
from flywheel.cli import (
    evolution,
    experiments,
    judge,
    ledger,
    registry,
    retrieval,
    review,
    stages,
    traces,
    training,
    users,
)
from flywheel.cli.ablation import ablate
from flywheel.cli.attack import attack
from flywheel.cli.backup import backup, restore
from flywheel.cli.cascade import calibrate, cascade
from flywheel.cli.evolution_cases import cases
from flywheel.cli.evolution_failures import digest, modes
from flywheel.cli.evolution_formats import formats
from flywheel.cli.evolution_functions import functions
from flywheel.cli.evolution_graph import graph, probe
from flywheel.cli.evolution_live import export_functions, live_functions, set_live
from flywheel.cli.evolution_metrics import metrics, rescore
from flywheel.cli.evolution_origin import origin
from flywheel.cli.evolution_selection import next_, select
from flywheel.cli.evolution_show import show
from flywheel.cli.failures import FAILURES, failure_of
from flywheel.cli.measures import of_metrics, of_steps
from flywheel.cli.output import PORT, as_json, emit, emit_rows, progress_bar, words
from flywheel.cli.panel import panel
from flywheel.errors import BadInput, FlywheelError
from flywheel.settings import PROJECT_FILE
from flywheel.store import Project, find_project, open_project

STARTER = """# Settings of this project; `flywheel doctor` says what is in force.
# Every table and key is optional; a misspelt one is refused.

[project]
name = "{name}"
# First daily partition that the orchestrator offers.
first_day = "2025-01-01"

[gate]
# "approve" waits for `flywheel registry promote`, "auto" promotes what passes the gate.
promotion = "approve"
"""

STARTER_METRIC = """-- name: long_conversation
-- level: trace
-- direction: neutral
-- owner: you
-- review_due: 2027-12-31
-- Whether a conversation took more than twenty messages; change it, or delete this file.
select
    trace_id,
    n_messages as value,
    if(n_messages > 20, 'true', 'false') as label
from traces
order by trace_id
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flywheel")
@click.option(
    "--project",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="FLYWHEEL_PROJECT",
    help="The project's folder; the current one, or the nearest above with a flywheel.toml.",
)
@click.pass_context
def cli(context: click.Context, folder: Path | None) -> None:
    """A data flywheel for LLM applications: traces, a cheap judge, corrections, retraining."""
    context.obj = folder or _nearest_project()


def _nearest_project() -> Path:
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / PROJECT_FILE).exists()), here)


@cli.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
def init(folder: Path) -> None:
    """Make a project: flywheel.toml, metrics/ and an empty data folder."""
    if (folder / PROJECT_FILE).exists():
        raise BadInput(f"{folder / PROJECT_FILE} exists already; nothing was changed")
    (folder / "metrics").mkdir(parents=True, exist_ok=True)
    name = folder.resolve().name.replace("\\", "").replace('"', "") or "flywheel"
    (folder / PROJECT_FILE).write_text(STARTER.format(name=name), encoding="utf-8")
    (folder / "metrics" / "long_conversation.sql").write_text(STARTER_METRIC, encoding="utf-8")
    open_project(folder).data_dir.mkdir(exist_ok=True)
    words.print(f"Made the project {folder}. Next, in that folder:")
    words.print("  flywheel traces import YOUR_FILE.jsonl\n  flywheel loop --all")


@cli.command()
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="One UTC day.")
@click.option("--all", "all_days", is_flag=True, help="Every day that has traces.")
@as_json
@click.pass_obj
def loop(folder: Path, day: datetime | None, all_days: bool, as_json: bool) -> None:
    """Run every stage in order, in this process, without the orchestrator."""
    from flywheel.loop import run_loop

    if (day is None) == (not all_days):
        raise click.UsageError("give either --day YYYY-MM-DD or --all")
    project = find_project(folder)
    with progress_bar("days") as bar:
        report = run_loop(project, [day.date()] if day else None, bar, bar.part)
    emit(report, as_json)


@cli.command()
@click.option(
    "--dir",
    "target",
    type=click.Path(file_okay=False, path_type=Path),
    default="flywheel-demo",
    show_default=True,
    help="Where the demo's project is made.",
)
@as_json
def demo(target: Path, as_json: bool) -> None:
    """Run the whole loop on the bundled sample, then say where to look."""
    from flywheel.demo import run_demo

    with progress_bar("demo") as bar:
        report = run_demo(target, bar)
    if as_json:
        emit(report, as_json)
        return
    emit_rows(report.columns, report.table, as_json=False)
    for line in report.sentences:
        click.echo(line)


@cli.command()
@click.option("--port", type=PORT, default=3000, show_default=True, help="Port of the web app.")
@click.option(
    "--dagster-port", type=PORT, help="Port of Dagster; the one after --port unless given."
)
@click.option("--only", type=click.Choice(["web", "dagster"]), help="Start one of the two.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where the web app listens; Dagster is on loopback always.",
)
@click.pass_obj
def up(
    folder: Path,
    port: int,
    dagster_port: int | None,
    only: Literal["web", "dagster"] | None,
    host: str,
) -> None:
    """Run the web app and Dagster for this project, until Ctrl-C."""
    from flywheel.up import run_up

    sys.exit(run_up(folder, port, dagster_port, only, host))


@cli.command()
@as_json
@click.pass_obj
def doctor(folder: Path, as_json: bool) -> None:
    """Say what is configured, reachable and missing, and what to do about it."""
    from flywheel.doctor import examine

    findings = examine(folder)
    rows = [(f.state, f.name, f.sentence, f.remedy) for f in findings]
    emit_rows(["state", "what", "finding", "remedy"], rows, as_json)
    sys.exit(1 if any(f.state == "problem" for f in findings) else 0)


for group in (
    traces.traces,
    stages.metrics,
    judge.judge,
    stages.queue,
    review.review,
    stages.corrections,
    stages.quality,
    retrieval.retrieval,
    training.training,
    registry.registry,
    evolution.evolution,
    experiments.experiments,
    ledger.ledger,
    stages.warehouse,
    users.users,
):
    cli.add_command(group)
for command in (backup, restore):
    cli.add_command(command)
for command in (ablate, panel, attack, calibrate, cascade):
    judge.judge.add_command(command)
for command in (of_metrics, of_steps):
    stages.quality.add_command(command)
for command in (
    metrics,
    rescore,
    select,
    next_,
    modes,
    digest,
    cases,
    formats,
    functions,
    graph,
    origin,
    probe,
    show,
):
    evolution.evolution.add_command(command)
for command in (live_functions, export_functions, set_live):
    evolution.evolution.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `flywheel`; a failure that was foreseen is one line on stderr and exit code 1."""
    try:
        cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        words.print("stopped; what was finished is kept")
        sys.exit(130)
    except click.ClickException as misuse:
        misuse.show()
        sys.exit(misuse.exit_code)
    except FlywheelError as error:
        words.print(f"flywheel: {error}", markup=False)
        sys.exit(1)
    except FAILURES as error:
        sentence = failure_of(error)
        if sentence is None:
            raise
        words.print(f"flywheel: {sentence}", markup=False)
        sys.exit(1)


__all__ = ["Project", "cli", "main"]

"""The stages with few verbs: metrics, queue, corrections, quality, warehouse."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flywheel.cli.output import as_json, emit, emit_rows, progress_bar, words
from flywheel.store import find_project

if TYPE_CHECKING:
    from flywheel.quality import By, RateEstimate

_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def metrics() -> None:
    """Scores by code and by rubrics: a metric is a file."""


@metrics.command("list")
@as_json
@click.pass_obj
def list_metrics(folder: Path, as_json: bool) -> None:
    """Every metric, bundled and the project's own, and the project's rubrics."""
    from flywheel.in_use import rubrics_of
    from flywheel.metrics import load_metrics

    project = find_project(folder)
    rubrics, refused = rubrics_of(project)
    if refused:
        raise refused[0]
    found = [*load_metrics(project.metrics_dir), *rubrics]
    emit_rows(
        ["name", "version", "level", "node", "direction", "owner", "review due"],
        [(m.name, m.version, m.level, m.node, m.direction, m.owner, m.review_due) for m in found],
        as_json,
    )


@metrics.command("add")
@click.argument("name")
@click.pass_obj
def add_metric(folder: Path, name: str) -> None:
    """Copy an example of a metric into metrics/, to be changed there."""
    from flywheel.metrics import add_example

    click.echo(add_example(name, find_project(folder).metrics_dir))


@metrics.command("run")
@click.argument("name")
@click.option("--day", type=_DAY, required=True, help="UTC day.")
@as_json
@click.pass_obj
def run_one(folder: Path, name: str, day: datetime, as_json: bool) -> None:
    """Run one metric by code over a day and print its rows; nothing is stored."""
    from flywheel.errors import NotFound
    from flywheel.metrics import load_metrics, run_metric

    project = find_project(folder)
    by_name = {metric.name: metric for metric in load_metrics(project.metrics_dir)}
    if name not in by_name:
        raise NotFound("metric", name, list(by_name))
    rows = run_metric(project.stores, by_name[name], day.date())
    emit_rows(rows.column_names, [list(row.values()) for row in rows.to_pylist()], as_json)


@click.group()
def queue() -> None:
    """What people should look at, and why."""


@queue.command("list")
@click.option("--limit", default=10, show_default=True, help="Items shown.")
@as_json
@click.pass_obj
def list_queue(folder: Path, limit: int, as_json: bool) -> None:
    """The open items, the most urgent first."""
    from flywheel.queue import ItemFilter, list_items

    found = list_items(find_project(folder).stores.ledger, ItemFilter(), limit)
    emit_rows(
        ["priority", "reason", "probability", "app", "trace", "why"],
        [
            (i.priority, i.reason, i.probability, i.app, i.trace_id, i.judge_reason or "")
            for i in found.items
        ],
        as_json,
    )
    words.print(f"{len(found.items)} of {found.n_matching} open items")


@click.group()
def corrections() -> None:
    """Labels and better answers, from the decisions that stand."""


@corrections.command("derive")
@as_json
@click.pass_obj
def derive(folder: Path, as_json: bool) -> None:
    """Bring decisions into the warehouse and work out labels, corrections and splits."""
    from flywheel.corrections import derive_labels

    emit(derive_labels(find_project(folder).stores), as_json)


@click.group()
def quality() -> None:
    """Rates that can be believed, with their intervals."""


@quality.command("estimate")
@click.option("--app", help="One application; all of them otherwise.")
@click.option("--from", "first", type=_DAY, help="First UTC day.")
@click.option("--to", "last", type=_DAY, help="Last UTC day.")
@click.option(
    "--by",
    type=click.Choice(["app", "day", "release", "metric"]),
    default="app",
    show_default=True,
    help="What to break the rate down by.",
)
@as_json
@click.pass_obj
def estimate(
    folder: Path,
    app: str | None,
    first: datetime | None,
    last: datetime | None,
    by: "By",
    as_json: bool,
) -> None:
    """The rate of perceived errors from people's labels and the judge, the best method first."""
    from flywheel.quality import estimate_rates

    from_day, to_day = (day.date() if day else None for day in (first, last))
    rates = estimate_rates(find_project(folder).stores, app, from_day, to_day, by)
    emit_rows(
        ["app", by, "method", "traces", "labels", "rate", "low", "high", "why not"][by == "app" :],
        [
            (
                *(r.app, _group(r, by))[by == "app" :],
                *(r.method, r.n_traces, r.n_labels, r.estimate, r.low, r.high, r.why),
            )
            for r in rates
        ],
        as_json,
    )


def _group(rate: "RateEstimate", by: "By") -> object:
    named = {"app": rate.app, "day": rate.first_day, "metric": rate.metric}
    return named.get(by, rate.release or "none named")


@quality.command("compare")
@click.option("--release", "releases", multiple=True, help="Twice: two releases.")
@click.option("--judge", "judges", multiple=True, help="Twice: two judge versions.")
@click.option("--app", help="One application; all of them otherwise.")
@as_json
@click.pass_obj
def compare(
    folder: Path,
    releases: tuple[str, ...],
    judges: tuple[str, ...],
    app: str | None,
    as_json: bool,
) -> None:
    """Two releases or two judges on the same traces: the difference, and what it means."""
    from flywheel.quality import compare_judges, compare_releases

    if sorted((len(releases), len(judges))) != [0, 2]:
        raise click.UsageError("give --release twice or --judge twice")
    stores = find_project(folder).stores
    if releases:
        emit(compare_releases(stores, releases[0], releases[1], app), as_json)
    else:
        emit(compare_judges(stores, judges[0], judges[1], app), as_json)


@click.group()
def warehouse() -> None:
    """The analytic store, which can always be rebuilt."""


@warehouse.command()
@as_json
@click.pass_obj
def rebuild(folder: Path, as_json: bool) -> None:
    """Make the warehouse again from the ledger and the artifacts; the old one is kept aside."""
    from flywheel.loop import rebuild_warehouse

    with progress_bar("rebuild"):
        report = rebuild_warehouse(find_project(folder))
    emit(report, as_json)


@warehouse.command()
@click.option("--out", type=click.Path(path_type=Path), help="Or warehouse.published.duckdb.")
@click.pass_obj
def publish(folder: Path, out: Path | None) -> None:
    """Publish a copy for notebooks and other readers, who never block a run."""
    project = find_project(folder)
    target = out or project.data_dir / "warehouse.published.duckdb"
    project.stores.warehouse.publish(target)
    click.echo(target)

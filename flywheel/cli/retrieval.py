"""`flywheel retrieval`: the indexes, what an application would be served, and the switches."""

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flywheel.cli.output import as_json, emit, emit_rows, words
from flywheel.store import find_project

if TYPE_CHECKING:
    from flywheel.retrieval.switches import Scope


@click.group()
def retrieval() -> None:
    """The indexes of corrections: for judges, and served to applications."""


@retrieval.command("update")
@as_json
@click.pass_obj
def update(folder: Path, as_json: bool) -> None:
    """Add what is new to the index and remove what no longer stands."""
    from flywheel.in_use import embedder_of, levers_of
    from flywheel.retrieval import update_indexes

    project = find_project(folder)
    emit(update_indexes(project.stores, embedder_of(project), levers_of(project)), as_json)


@retrieval.command()
@click.argument("text")
@click.option("--app", required=True, help="Application whose examples are asked for.")
@click.option("--k", type=click.IntRange(1, 50), help="At most so many; else retrieval.k.")
@click.option("--node", help="The node that asks, a kind or kind:name as the graph has it.")
@click.option("--parent", help="The node that called it.")
@as_json
@click.pass_obj
def ask(
    folder: Path,
    text: str,
    app: str,
    k: int | None,
    node: str | None,
    parent: str | None,
    as_json: bool,
) -> None:
    """What an application would be served for a request; nothing is noted as served."""
    from flywheel.models.embedder import load_embedder
    from flywheel.models.light import light_embedder
    from flywheel.retrieval.places import asked_place
    from flywheel.retrieval.quoting import why_chosen
    from flywheel.retrieval.serving import Asked, ExampleService
    from flywheel.traces.conversations import InputLevers

    project = find_project(folder)
    judge, compute = project.settings.judge, project.settings.compute
    levers = InputLevers(strip_markers=tuple(judge.strip_markers))
    embedder = light_embedder(load_embedder(judge.embedder, compute.threads))
    settings = project.settings.retrieval
    service = ExampleService(project.stores, settings, lambda: (embedder, levers))
    place = asked_place(node, parent)
    served = service.ask(Asked(text, app, k or settings.k, place=place))
    service.close()
    shown = [
        {"correction_id": found.row["correction_id"], "similarity": found.similarity}
        | {"age_days": found.age_days, "score": found.score}
        | {"node": found.row["node"], "parent": found.row["parent"]}
        | asdict(said)
        | {"why": why_chosen(found)}
        for found, said in zip(served.found, served.said, strict=True)
    ]
    columns = ["correction_id", "kind", "similarity", "request", "good_answer", "bad_answer", "why"]
    if as_json:
        columns += ["age_days", "score", "node", "parent", "good_tool_calls", "bad_tool_calls"]
    emit_rows(columns, [[one[name] for name in columns] for one in shown], as_json)
    words.print(f"{len(shown)} examples, of {served.index_version}")
    if not shown:
        words.print(
            f"No correction of {app} is like it to {settings.min_similarity} or more "
            "(retrieval.min_similarity); what is of the holdout or switched off is not served."
        )


_APP = click.option("--app", help="All examples of this application.")
_ALL = click.option("--all", "is_all", is_flag=True, help="Every example.")
_WHY = click.option("--why", default="", help="A reason, for the audit log.")


@retrieval.command("switch-off")
@click.argument("correction", required=False)
@_APP
@_ALL
@_WHY
@click.pass_obj
def off(folder: Path, correction: str | None, app: str | None, is_all: bool, why: str) -> None:
    """Serve a correction, an application's or none to applications any longer; at once."""
    from flywheel.retrieval.switches import switch_off

    scope, subject = _meant(correction, app, is_all)
    is_new = switch_off(find_project(folder).stores.ledger, scope, subject, getpass.getuser(), why)
    words.print("switched off" if is_new else "it was off already")


@retrieval.command("switch-on")
@click.argument("correction", required=False)
@_APP
@_ALL
@_WHY
@click.pass_obj
def on(folder: Path, correction: str | None, app: str | None, is_all: bool, why: str) -> None:
    """Serve again what was switched off by the same words."""
    from flywheel.retrieval.switches import switch_on

    scope, subject = _meant(correction, app, is_all)
    was_off = switch_on(find_project(folder).stores.ledger, scope, subject, getpass.getuser(), why)
    words.print("switched on" if was_off else "it was on already")


@retrieval.command()
@as_json
@click.pass_obj
def switches(folder: Path, as_json: bool) -> None:
    """What is switched off, since when, by whom and why."""
    from flywheel.retrieval.switches import list_switches

    found = list_switches(find_project(folder).stores.ledger)
    columns = ["scope", "subject", "actor", "why", "switched_off_at"]
    emit_rows(columns, [[getattr(one, name) for name in columns] for one in found], as_json)


@retrieval.command()
@click.option("--correction", help="Of conversations that were shown this one.")
@as_json
@click.pass_obj
def effect(folder: Path, correction: str | None, as_json: bool) -> None:
    """How conversations were judged that were answered with examples, beside others of those days.

    It is no experiment: nobody drew lots who is shown examples.
    """
    from flywheel.retrieval.effect import served_effect

    report = served_effect(find_project(folder).stores, correction)
    if as_json:
        emit(report, as_json)
        return
    rows = [
        (
            *(one.app, "served" if one.is_served else "not served", one.judged, one.errors),
            *([i.estimate, i.low, i.high] if (i := one.error_rate) else [None] * 3),
        )
        for one in report.rates
    ]
    emit_rows(["app", "traces", "judged", "errors", "rate", "low", "high"], rows, as_json)
    words.print(
        f"{report.examples} examples for {report.requests} requests, {report.with_trace} of them "
        f"with a trace. {report.caveat}"
    )


def _meant(correction: str | None, app: str | None, is_all: bool) -> tuple["Scope", str]:
    if (correction is not None) + (app is not None) + is_all != 1:
        raise click.UsageError("name one correction, or give --app or --all")
    if correction is not None:
        return "example", correction
    return ("all", "") if is_all else ("app", app or "")

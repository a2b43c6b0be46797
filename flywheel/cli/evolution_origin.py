"""`flywheel evolution origin`: at which step of one trace the error starts."""

from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, emit_rows, words
from flywheel.store import find_project


@click.command()
@click.argument("trace_id")
@as_json
@click.pass_obj
def origin(folder: Path, trace_id: str, as_json: bool) -> None:
    """The steps of one trace at which its error may start, the likeliest first."""
    from flywheel.evolution.call_graph.origin import find_origin

    project = find_project(folder)
    found = find_origin(project.stores, project.settings.evolution, trace_id)
    if as_json:
        emit(found, as_json)
        return
    words.print(f"{found.trace_id} ({found.app}, {found.n_steps} steps): {found.sentence}.",
                markup=False)  # fmt: skip
    rows = [
        (one.step, one.node, "" if one.message is None else one.message, round(one.probability, 3))
        for one in found.suspects
    ]
    emit_rows(("step", "node", "message", "probability"), rows, as_json)

"""`flywheel judge ablate`: what of a generative judge's input is worth its price."""

from collections.abc import Sequence
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit_rows, progress_bar, words
from flywheel.errors import BadInput
from flywheel.records import Interval, LabelledConversation
from flywheel.store import find_project
from flywheel.traces.conversations import InputLevers

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--labels", "path", type=_FILE, required=True, help="JSON lines with labels.")
@click.option(
    "--examples", type=_FILE, required=True, help="Others, to be shown; never one of its session."
)
@click.option("--judge", "name", help="One of [judges.NAME]; else judge.generative.")
@click.option("--limit", type=click.IntRange(1), help="So many of them, drawn uniformly.")
@as_json
@click.pass_obj
def ablate(
    folder: Path, path: Path, examples: Path, name: str | None, limit: int | None, as_json: bool
) -> None:
    """Few-shots and input levers of a generative judge, each by itself: accuracy and cost.

    What was asked before is not asked again.
    """
    from flywheel.in_use import embedder_of, generative_of, judge_of, levers_of
    from flywheel.judge.cache import VerdictCache
    from flywheel.judge.evaluation import uniform_subset
    from flywheel.retrieval.ablation import ArmResult, shelf_of
    from flywheel.retrieval.ablation import ablate as each_arm
    from flywheel.traces.labelled import read_conversations

    project = find_project(folder)
    judge = generative_of(project, name)
    if judge is None:
        raise BadInput("there is no generative judge; name one of [judges.NAME] with --judge")
    embedder, levers = embedder_of(project), levers_of(project)

    def read(how: InputLevers) -> Sequence[LabelledConversation]:
        return uniform_subset(read_conversations(path, how).labelled, limit)

    shelf = shelf_of(read_conversations(examples, levers).labelled, judge_of(project), embedder)
    if not shelf.has_times:
        words.print("the examples have no started_at: the arm of recency is left out")
    rows: list[list[object]] = []
    with progress_bar("judge") as bar:
        for result in each_arm(
            VerdictCache(project.stores.ledger),
            judge,
            read,
            shelf,
            embedder,
            levers,
            project.settings.retrieval,
            bar.part,
        ):
            rows.append([_cell(getattr(result, column), as_json) for column in ArmResult.__slots__])
    emit_rows(ArmResult.__slots__, rows, as_json)


def _cell(value: object, as_json: bool) -> object:
    if as_json or not isinstance(value, Interval):
        return value
    return f"{value.estimate:.3f} [{value.low:.3f}, {value.high:.3f}]"

"""`flywheel judge attack`: how many verdicts text in a trace can turn."""

from collections.abc import Sequence
from pathlib import Path

import click

from flywheel.cli.judge import ADAPTER, JUDGE, judging_of, read_file
from flywheel.cli.output import as_json, emit, emit_rows, progress_bar, words
from flywheel.records import Conversation
from flywheel.store import find_project


@click.command()
@click.option(
    "--labels", "path", type=click.Path(path_type=Path), required=True, help="JSON lines of traces."
)
@JUDGE
@ADAPTER
@click.option("--limit", type=click.IntRange(1), help="So many of them, drawn uniformly.")
@click.option(
    "--per-family", type=click.IntRange(1), help="So many attacks of each family and aim; else all."
)
@as_json
@click.pass_obj
def attack(
    folder: Path,
    path: Path,
    name: str | None,
    adapter: Path | None,
    limit: int | None,
    per_family: int | None,
    as_json: bool,
) -> None:
    """Put attacks into traces, and count the verdicts that turn, by family and direction.

    What a generative judge was asked is kept, and not asked again.
    """
    from flywheel.judge.attacks import attack_judge, read_attacks
    from flywheel.judge.evaluation import uniform_subset

    project = find_project(folder)
    judging = judging_of(project, name, adapter)
    chosen = [row.conversation for row in uniform_subset(read_file(project, path).labelled, limit)]

    def verdicts(conversations: Sequence[Conversation]) -> list[bool | None]:
        given = judging(conversations)
        return [given.get(c.trace_id, {}).get("perceived_error") for c in conversations]

    with progress_bar("attacks") as bar:
        report = attack_judge(name or "best tier", verdicts, chosen, read_attacks(per_family), bar)
    if as_json:
        emit(report, as_json=True)
        return
    families = [*report.families, report.all_attacks]
    sides = [(one.family, side) for one in families for side in (one.to_no_error, one.to_error)]
    towards = ["no error", "error"] * len(families)
    emit_rows(
        ["family", "towards", "flipped", "of", "share", "low", "high"],
        [
            (family, to, s.flipped, s.n, s.share.estimate, s.share.low, s.share.high)
            for to, (family, s) in zip(towards, sides, strict=True)
        ],
        as_json=False,
    )
    words.print(
        f"{report.judge}: {report.conversations} conversations, {report.errors_before} of an error "
        f"before; {report.attacked} attacked, {report.lost} verdicts missing"
    )

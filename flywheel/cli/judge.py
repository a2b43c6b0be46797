"""`flywheel judge`: verdicts for a file, and how well they fit labels."""

import json
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, plain, progress_bar, words
from flywheel.records import TIERS, Tier
from flywheel.store import open_project

_FILE = click.Path(path_type=Path)
_TIER = click.option("--judge", "tier", type=click.Choice(TIERS), help="A tier; else the best.")
_ADAPTER = click.option(
    "--adapter", type=_FILE, help="A folder of `training fit`; else the champion of the project."
)
# Conversations between two lines on stdout.
_BATCH = 64


@click.group()
def judge() -> None:
    """The judge of perceived errors."""


@judge.command()
@click.argument("path", type=_FILE)
@_TIER
@_ADAPTER
@click.pass_obj
def score(folder: Path, path: Path, tier: Tier | None, adapter: Path | None) -> None:
    """Verdicts for a file of traces, as JSON lines on stdout; nothing is stored."""
    from flywheel.loop import judge_of, levers_of
    from flywheel.traces.labelled import read_conversations

    project = open_project(folder)
    chosen = judge_of(project, adapter)
    file = read_conversations(path, levers_of(project))
    for line in file.rejected:
        words.print(line, markup=False)
    use = tier or chosen.best
    chosen.require(use)
    rows = file.conversations
    with progress_bar("judge") as bar:
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            given = {v.trace_id: v for v in chosen.verdicts(part, chosen.opinions(part, use), use)}
            for row in part:
                verdict = plain(given[row.trace_id]) if row.trace_id in given else None
                skip = {"trace_id": row.trace_id, "skipped": "not eligible"}
                click.echo(json.dumps(verdict or skip, ensure_ascii=False))
            bar(start + len(part), len(rows))


@judge.command()
@click.option("--labels", "path", type=_FILE, required=True, help="JSON lines with labels.")
@_TIER
@_ADAPTER
@as_json
@click.pass_obj
def evaluate(
    folder: Path, path: Path, tier: Tier | None, adapter: Path | None, as_json: bool
) -> None:
    """How well the verdicts fit labels: every rate with its 95 % interval."""
    from flywheel.judge.evaluation import evaluate_judge
    from flywheel.loop import judge_of, levers_of
    from flywheel.traces.labelled import read_conversations

    project = open_project(folder)
    chosen = judge_of(project, adapter)
    file = read_conversations(path, levers_of(project))
    for line in file.rejected:
        words.print(line, markup=False)
    use = tier or chosen.best
    with progress_bar(f"judge, {use}"):
        card = evaluate_judge(chosen, use, file.labelled)
    skipped = file.skipped | {"rejected": len(file.rejected)}
    emit({"judge": chosen.tier_version(use), "skipped": skipped} | card.as_dict(), as_json)

"""`flywheel judge cascade` and `calibrate`: which tier has the last word, and at what cost.

An application with a judge of its own is another cascade: `--target` names whose is meant.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flywheel.cli.output import as_json, emit, emit_rows, progress_bar, words
from flywheel.errors import BadInput
from flywheel.records import Interval, LabelledConversation
from flywheel.store import Project, find_project

if TYPE_CHECKING:
    from flywheel.judge.cascading import TierAtWork
    from flywheel.judge.prompted import PromptedJudge
    from flywheel.traces.applications import Applications
    from flywheel.traces.conversations import InputLevers

_FILE = click.Path(path_type=Path)
_of_target = click.option(
    "--target", help="Whose champion reads first, and which applications; else that of the rest."
)
_COLUMNS = (
    *("tier", "asked", "decides", "certified error", "certified fine", "agrees here"),
    *("TPR", "TNR", "USD per 1,000 asked", "conformal sets"),
)


@click.command()
@click.option("--labels", "path", type=_FILE, required=True, help="JSON lines with labels.")
@click.option(
    "--adapter", type=_FILE, help="A folder of `training fit`; else the champion of the project."
)
@click.option("--judge", "name", help="One of [judges.NAME]; else judge.generative, if any.")
@_of_target
@click.option("--limit", type=click.IntRange(1), help="So many of them, drawn uniformly.")
@as_json
@click.pass_obj
def cascade(
    folder: Path,
    path: Path,
    adapter: Path | None,
    name: str | None,
    target: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """What each tier decides of labelled traces, how well, at what cost, and what is left."""
    from flywheel.in_use import generative_of, reader_of
    from flywheel.judge.cache import VerdictCache
    from flywheel.judge.cascading import cascade_report
    from flywheel.judge.evaluation import uniform_subset

    project = find_project(folder)
    target, of = _read_by(project, target)
    judge = reader_of(project, adapter, target)
    labelled = uniform_subset(_read(_labelled(path, judge.levers), of), limit)
    generative = generative_of(project, name, judge.levers)
    with progress_bar("judge") as bar:
        report = cascade_report(
            VerdictCache(project.stores.ledger),
            judge,
            generative,
            labelled,
            project.settings.compute.usd_per_cpu_hour,
            bar,
        )
    if as_json:
        emit(report, as_json)
        return
    emit_rows(_COLUMNS, [_row(tier) for tier in report.tiers], as_json)
    words.print(
        f"{report.share_for_people:.1%} of {report.n} traces are left for people; "
        f"{report.usd_per_1000:.2g} USD per 1,000 traces, "
        f"{report.usd_per_1000_top_alone:.2g} where {report.tiers[-1].tier} reads them all"
    )
    if generative is not None and adapter is None:
        _say_where_silent(project, generative, target)


@click.command()
@click.argument("name")
@click.option(
    "--labels", "path", type=_FILE, help="JSON lines that no tier has learnt; else the project's."
)
@click.option("--adapter", type=_FILE, help="The judge before it; else the champion.")
@_of_target
@click.option("--limit", type=click.IntRange(1), help="So many of them, drawn uniformly.")
@as_json
@click.pass_obj
def calibrate(
    folder: Path,
    name: str,
    path: Path | None,
    adapter: Path | None,
    target: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Calibrate the generative judge NAME on labels, and certify what it may decide by itself.

    Without a file, on the project's labels outside the holdout; where a target trains the judge, on
    those of the calibration split. What was asked before is not asked again. It holds behind the
    judge that it was measured behind, the newest; an application with its own has another.
    """
    from flywheel.in_use import adapters_of, generative_of, judged_by_target, reader_of
    from flywheel.judge.cache import VerdictCache
    from flywheel.judge.cascading import calibrate_generative
    from flywheel.judge.certifying import Goal
    from flywheel.judge.evaluation import uniform_subset

    project = find_project(folder)
    target, of = _read_by(project, target)
    judge = reader_of(project, adapter, target)
    # As a day is read: by what the judge before it is given.
    levers = judge.levers
    generative = generative_of(project, name, levers)
    if generative is None:
        raise BadInput("name one of [judges.NAME]")
    labelled, learnt = (_labelled(path, levers), []) if path else _own_labels(project, levers)
    labelled, learnt = uniform_subset(_read(labelled, of), limit), _read(learnt, of)
    learnt = uniform_subset(learnt, None if limit is None else limit - len(labelled))
    wanted = project.settings.judge
    with progress_bar("judge") as bar:
        found = calibrate_generative(
            VerdictCache(project.stores.ledger),
            generative,
            judge,
            labelled,
            learnt,
            Goal(wanted.target_agreement, wanted.certify_alpha),
            bar,
            has_learnt=name in adapters_of(project),
            apps=() if of.is_rest else of.names,
        )
    emit(found, as_json)
    for other in judged_by_target(project):
        if other != target:
            _say_where_silent(project, generative, other)


def _read_by(project: Project, target: str | None) -> "tuple[str, Applications]":
    """A target whose champion reads traces, that of the rest unless named, and what it reads."""
    from flywheel.in_use import judged_by_target

    found = judged_by_target(project)
    named = target or next(each for each, of in found.items() if of.is_rest)
    if named not in found:
        raise BadInput(
            f"{named!r} is no target whose champion reads traces; these are: {', '.join(found)}"
        )
    return named, found[named]


def _read(labelled: list[LabelledConversation], of: "Applications") -> list[LabelledConversation]:
    """Those of the applications, and of none that is known; what is left out is said."""
    found = [row for row in labelled if not row.conversation.app or of.has(row.conversation.app)]
    if left := len(labelled) - len(found):
        words.print(f"{left} labels are of applications that another judge reads, and left out")
    return found


def _say_where_silent(project: Project, generative: "PromptedJudge", target: str) -> None:
    """Say where a generative judge decides nothing behind a target's, and what would change it."""
    from flywheel.in_use import reader_of

    behind = reader_of(project, target=target).version
    if generative.after(behind).thresholds is not None:
        return
    silent = f"behind the judge of {target} ({behind}) {generative.name} decides nothing: "
    if behind in generative.measured:
        words.print(f"{silent}too few labels agree to certify a threshold")
    else:
        command = f"flywheel judge calibrate {generative.name} --target {target}"
        words.print(f"{silent}it was never measured there; `{command}` does that")


def _labelled(path: Path, levers: "InputLevers") -> list[LabelledConversation]:
    from flywheel.traces.labelled import read_conversations

    file = read_conversations(path, levers)
    for line in file.rejected:
        words.print(line, markup=False)
    return file.labelled


def _own_labels(
    project: Project, levers: "InputLevers"
) -> tuple[list[LabelledConversation], list[LabelledConversation]]:
    """The project's labels outside the holdout: of the calibration split, and those learnt from."""
    from flywheel.training.dataset import take_training_set

    rows = take_training_set(project.stores, levers).rows
    return rows["calibration"], [*rows["train"], *rows["validation"]]


def _row(tier: "TierAtWork") -> list[object]:
    sets = ", ".join(f"{name} {share:.0%}" for name, share in tier.sets.items() if share)
    return [
        tier.tier,
        tier.asked,
        f"{tier.share:.1%}",
        _bound(tier.certified_error),
        _bound(tier.certified_fine),
        _interval(tier.agreement),
        *("" if rate is None else f"{rate:.3f}" for rate in (tier.tpr, tier.tnr)),
        f"{tier.usd_per_1000_asked:.2g}",
        sets,
    ]


def _bound(low: float | None) -> str:
    return "nothing" if low is None else f">= {low:.3f}"


def _interval(found: Interval | None) -> str:
    return "" if found is None else f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"

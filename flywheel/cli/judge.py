"""`flywheel judge`: verdicts for a file, and how well they fit labels."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flywheel.cli.output import as_json, emit, plain, progress_bar, words
from flywheel.errors import BadInput, NotFound
from flywheel.records import TIERS, Conversation, Tier
from flywheel.store import Project, find_project

if TYPE_CHECKING:
    from flywheel.judge.prompted import PromptedJudge
    from flywheel.judge.shadow_report import ShadowComparison
    from flywheel.records import Interval
    from flywheel.traces.labelled import ConversationFile

_FILE = click.Path(path_type=Path)
JUDGE = click.option(
    "--judge", "name", metavar="NAME", help="A tier, or one of [judges.NAME]; else the best tier."
)
ADAPTER = click.option(
    "--adapter", type=_FILE, help="A folder of `training fit`; else the champion of the project."
)
# Conversations between two lines on stdout.
_BATCH = 64

# Verdicts of some conversations, or why there is none, by trace id.
Judging = Callable[[Sequence[Conversation]], dict[str, Any]]


@click.group()
def judge() -> None:
    """The judge of perceived errors."""


@judge.command()
@click.argument("path", type=_FILE)
@JUDGE
@ADAPTER
@click.pass_obj
def score(folder: Path, path: Path, name: str | None, adapter: Path | None) -> None:
    """Verdicts for a file of traces, each by its application's judge, as JSON lines on stdout.

    What a generative judge was asked is kept, and not asked again; nothing else is stored.
    """
    project = find_project(folder)
    judging = judging_of(project, name, adapter)
    rows = read_file(project, path).conversations
    with progress_bar("judge") as bar:
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            given = judging([row for row in part if row.is_eligible])
            for row in part:
                verdict = given.get(row.trace_id, {"skipped": "not eligible"})
                line = {"trace_id": row.trace_id} | verdict
                click.echo(json.dumps(line, ensure_ascii=False))
            bar(start + len(part), len(rows))


@judge.command()
@click.option("--labels", "path", type=_FILE, required=True, help="JSON lines with labels.")
@JUDGE
@ADAPTER
@click.option("--limit", type=click.IntRange(1), help="So many of them, drawn uniformly.")
@click.option(
    "--calibrate", type=_FILE, help="Other labels that a generative judge is calibrated on first."
)
@as_json
@click.pass_obj
def evaluate(
    folder: Path,
    path: Path,
    name: str | None,
    adapter: Path | None,
    limit: int | None,
    calibrate: Path | None,
    as_json: bool,
) -> None:
    """How well the verdicts fit labels, each rate with its 95 % interval; what they cost, how fast.

    What a generative judge was asked is kept, and not asked again.
    """
    from flywheel.in_use import reader_of
    from flywheel.judge.cache import VerdictCache
    from flywheel.judge.evaluation import (
        calibrated_on,
        evaluate_judge,
        evaluate_prompted,
        uniform_subset,
    )

    project = find_project(folder)
    generative = _generative(project, name)
    if calibrate and not generative:
        raise BadInput("a tier carries its calibration; --calibrate is for [judges.NAME]")
    file = read_file(project, path)
    labelled = uniform_subset(file.labelled, limit)
    cache = VerdictCache(project.stores.ledger)
    with progress_bar("judge") as bar:
        if calibrate and generative:
            others = uniform_subset(read_file(project, calibrate).labelled, limit)
            generative = calibrated_on(cache, generative, others, bar)
        if generative:
            found = evaluate_prompted(cache, generative, labelled, bar)
        else:
            chosen = reader_of(project, adapter)
            price = project.settings.compute.usd_per_cpu_hour
            found = evaluate_judge(chosen, _tier(name) or chosen.best, labelled, price)
    skipped = file.skipped | {"rejected": len(file.rejected)}
    emit(found.as_dict() | {"skipped": skipped}, as_json)


@judge.command()
@click.option("--target", help="That of one target alone.")
@click.option("--days", type=click.IntRange(1), help="Of the newest so many days with a shadow.")
@as_json
@click.pass_obj
def shadow(folder: Path, target: str | None, days: int | None, as_json: bool) -> None:
    """Each shadow beside the champion on the same traces: rates, agreement and where they differ.

    A shadow is set with `flywheel registry shadow`, and reads from the next day's run on.
    """
    from datetime import timedelta

    from flywheel.judge.shadow_report import compare_shadows

    project = find_project(folder)
    found = compare_shadows(project.stores)
    if days and found:
        last = max(each.last_day for each in found)
        found = compare_shadows(project.stores, last - timedelta(days=days - 1))
    found = [each for each in found if target in (None, each.target)]
    if not found and not as_json:
        words.print(
            "no shadow has read a trace yet; one that `flywheel registry shadow` sets does so from "
            "the next run on"
        )
    if as_json:
        emit(found, as_json)
        return
    for number, each in enumerate(found):
        click.echo("\n" * bool(number), nl=False)
        emit(_told(each), as_json)


def _told(one: "ShadowComparison") -> dict[str, object]:
    """A comparison as a person reads it."""
    return {
        "target": one.target,
        "shadow": one.shadow,
        "champion": one.champion,
        "days": f"{one.first_day} to {one.last_day}",
        "traces": one.n,
        "agreement": _percent(one.agreement),
        "errors by the champion": _percent(one.rate_of_champion),
        "errors by the shadow": _percent(one.rate_of_shadow),
        "an error to the shadow alone": one.to_error,
        "an error to the champion alone": one.to_fine,
        "labelled": one.n_labelled,
        "right: the shadow alone": one.only_shadow,
        "right: the champion alone": one.only_champion,
        "furthest apart": ", ".join(
            f"{flip.trace_id} ({flip.of_champion:.2f}, {flip.of_shadow:.2f})"
            for flip in one.flips[:5]
        ),
    }


def _percent(share: "Interval") -> str:
    return f"{share.estimate:.1%} [{share.low:.1%}, {share.high:.1%}]"


def _tier(name: str | None) -> Tier | None:
    return next((tier for tier in TIERS if tier == name), None)


def _generative(project: Project, name: str | None) -> "PromptedJudge | None":
    """The generative judge of this name, None where the name is a fitted tier's or none is given.

    Raises NotFound where the name is neither a tier nor one of `[judges.NAME]`.
    """
    from flywheel.in_use import generative_of

    if name is None or (_tier(name) and name != "generative"):
        return None
    if name == "generative":
        found = generative_of(project)
        if found is None:
            raise BadInput("`judge.generative` names no judge; set it to one of [judges.NAME]")
        return found
    if name not in project.settings.judges:
        raise NotFound("judge", name, [*TIERS, *project.settings.judges])
    return generative_of(project, name)


def read_file(project: Project, path: Path) -> "ConversationFile":
    """The file's conversations; what could not be read is said on stderr."""
    from flywheel.in_use import levers_of
    from flywheel.traces.labelled import read_conversations

    file = read_conversations(path, levers_of(project))
    for line in file.rejected:
        words.print(line, markup=False)
    return file


def judging_of(project: Project, name: str | None, adapter: Path | None) -> Judging:
    """How a tier of this name judges, or one of `[judges.NAME]`; the best tier without a name."""
    generative = _generative(project, name)
    return _by_prompt(project, generative) if generative else _by_tier(project, name, adapter)


def _by_tier(project: Project, name: str | None, adapter: Path | None) -> Judging:
    from flywheel.in_use import judges_of, reader_of
    from flywheel.judge.scoring import AppJudge

    tier = _tier(name)
    # A folder is read for every application.
    readers = [AppJudge(reader_of(project, adapter))] if adapter else judges_of(project)
    for reader in readers:
        reader.judge.require(tier or reader.judge.best)

    def judging(part: Sequence[Conversation]) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for reader in readers:
            judge, of = reader.judge, tier or reader.judge.best
            own = [each for each in part if reader.applications.has(each.app)]
            # Of a file as of a day: judge by judge, so that an adapter is switched to once a batch.
            for verdict in judge.verdicts(own, judge.opinions(own, of), of):
                given[verdict.trace_id] = plain(verdict) | {"judge_version": judge.tier_version(of)}
        return given

    return judging


def _by_prompt(project: Project, chosen: "PromptedJudge") -> Judging:
    from flywheel.judge.cache import VerdictCache, generative_opinions
    from flywheel.judge.prompted import Unjudged
    from flywheel.judge.scoring import no_progress

    cache = VerdictCache(project.stores.ledger)

    def judging(part: Sequence[Conversation]) -> dict[str, Any]:
        shown = [()] * len(part)
        opinions, _ = generative_opinions(cache, chosen, part, shown, no_progress)
        given: dict[str, Any] = {
            conversation.trace_id: {"skipped": opinion.kind, "why": opinion.why}
            for conversation, opinion in zip(part, opinions, strict=True)
            if isinstance(opinion, Unjudged)
        }
        verdicts = chosen.verdicts(part, opinions, shown)
        return given | {verdict.trace_id: plain(verdict) for verdict in verdicts}

    return judging

"""What a project uses now: its embedder, its judges, its rubrics, by its settings and its registry.

A project in, a model out; the one idea is that whoever starts something asks here, once, and so
reads the version that is current then.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flywheel.errors import BadMetric, BadSetting, NeverWill
from flywheel.judge.cold_start import cold_start_judge
from flywheel.judge.configured import configured_judge
from flywheel.judge.files import load_judge
from flywheel.judge.judge import Judge
from flywheel.judge.precision import in_precision
from flywheel.judge.prompted import PromptedJudge
from flywheel.judge.rubric import load_rubric
from flywheel.judge.scoring import AppJudge
from flywheel.judge.shadows import Shadow
from flywheel.metrics import read_metrics
from flywheel.metrics.rubric_files import RubricMetric, read_rubrics
from flywheel.models.embedder import Embedder, load_embedder
from flywheel.models.ray_engine import engine_of
from flywheel.records import JUDGE_TARGET
from flywheel.registry import CHAMPION, SHADOW, alias_of, targets_with
from flywheel.store import Project
from flywheel.traces.applications import Applications
from flywheel.traces.conversations import InputLevers
from flywheel.training.challenger import judge_in
from flywheel.training.examples.verdicts import prompt_hash
from flywheel.training.targets import Target, targets_of


def embedder_of(project: Project) -> Embedder:
    """The project's embedder; the same object for the whole process."""
    compute = project.settings.compute
    engine = engine_of(compute)
    return load_embedder(project.settings.judge.embedder, compute.threads, engine=engine)


def levers_of(project: Project) -> InputLevers:
    """What of a turn the project's judges are given."""
    settings = project.settings.judge
    return InputLevers(
        settings.max_message_chars, tuple(settings.strip_markers), settings.include_tool_calls
    )


def judge_of(project: Project, folder: Path | None = None, target: str = JUDGE_TARGET) -> Judge:
    """The judge in `folder`, else the target's champion, else the one that needs no labels.

    A target without a champion yet has that of all applications.
    """
    embedder = embedder_of(project)
    if folder is not None:
        return load_judge(folder, embedder)
    champion = alias_of(project.stores.ledger, target, CHAMPION)
    if champion is None and target != JUDGE_TARGET:
        return judge_of(project)
    # A champion without files is the judge that needs no labels.
    if champion is None or champion.artifact is None:
        return cold_start_judge(embedder, levers_of(project))
    return judge_in(project.stores, champion.version, embedder)


def _version_of(project: Project, version: str) -> Judge:
    """A registered judge; the one that needs no labels has no files."""
    cold = cold_start_judge(embedder_of(project), levers_of(project))
    if version == cold.version:
        return cold
    return judge_in(project.stores, version, embedder_of(project))


def reader_of(project: Project, folder: Path | None = None, target: str = JUDGE_TARGET) -> Judge:
    """The judge of `judge_of`, run in the numbers that the settings say: it reads traces.

    What is trained, gated and registered is the judge itself, in float32.
    """
    return in_precision(judge_of(project, folder, target), project.settings.compute.precision)


def judged_by_target(project: Project) -> dict[str, Applications]:
    """The targets whose champion reads traces now, each with its applications; the rest comes last.

    An application is read by the target that names it, else by the judge of all. A target without
    a champion yet is passed over. Raises BadSetting where two targets would read the same.
    """
    judges = [each for each in targets_of(project.settings) if each.kind == "judge" and each.apps]
    _check_disjoint(judges)
    live = targets_with(project.stores.ledger, CHAMPION)
    found = {each.name: Applications(each.apps, False) for each in judges if each.name in live}
    taken = tuple(app for apps in found.values() for app in apps.names)
    return found | {JUDGE_TARGET: Applications(taken)}


def _check_disjoint(judges: Sequence[Target]) -> None:
    taken: dict[str, str] = {}
    for each in judges:
        for app in each.apps:
            if app in taken:
                raise BadSetting(
                    f"[targets.{taken[app]}] and [targets.{each.name}] both judge the application "
                    f"{app!r}; leave it to one of them"
                )
            taken[app] = each.name


def target_of(project: Project, app: str) -> str:
    """The target whose champion reads this application now."""
    found = judged_by_target(project)
    return next(name for name, applications in found.items() if applications.has(app))


def judges_of(project: Project) -> list[AppJudge]:
    """The judges that read a day, disjoint in their applications, with what reads behind them.

    Where a generative judge cannot be had, its place says why.
    """
    found: dict[str, AppJudge] = {}
    for target, applications in judged_by_target(project).items():
        judge = reader_of(project, target=target)
        before = found.get(judge.version)
        if before is None:
            found[judge.version] = _with_generative(project, judge, applications, target)
        else:
            both = _joined(before.applications, applications)
            names = (*before.targets, target)
            found[judge.version] = replace(before, applications=both, targets=names)
    return list(found.values())


def _joined(one: Applications, other: Applications) -> Applications:
    """The applications of either; the rest is where it is all but those of the others."""
    if other.is_rest:
        return Applications(tuple(app for app in other.names if app not in one.names))
    return Applications((*one.names, *other.names), False)


def _with_generative(
    project: Project, judge: Judge, applications: Applications, target: str
) -> AppJudge:
    try:
        generative, missing = generative_of(project, levers=judge.levers), ""
    except NeverWill as error:
        generative, missing = None, str(error)
    return AppJudge(judge, applications, generative, missing, (target,))


def shadows_of(project: Project) -> list[Shadow]:
    """The judges that read in the shadow, each what the champion of its target reads."""
    live = judged_by_target(project)
    taken = tuple(app for apps in live.values() if not apps.is_rest for app in apps.names)
    shadows = targets_with(project.stores.ledger, SHADOW)
    found = []
    for each in targets_of(project.settings):
        if each.kind != "judge" or each.name not in shadows:
            continue
        own = Applications(each.apps, False) if each.apps else Applications(taken)
        judge = _version_of(project, shadows[each.name])
        reader = in_precision(judge, project.settings.compute.precision)
        found.append(Shadow(each.name, reader, own))
    return found


def adapters_of(project: Project) -> dict[str, Path]:
    """The folder of the adapter in use for each of [judges.NAME] that a target trains."""
    trained = [each for each in targets_of(project.settings) if each.kind == "chat-judge"]
    found = {}
    for each in trained:
        champion = alias_of(project.stores.ledger, each.name, CHAMPION)
        # One without files is the model as it came.
        if champion is not None and champion.artifact is not None:
            folder = project.stores.artifacts.path(each.artifacts, champion.artifact)
            found[each.judge] = folder
    return found


def generative_of(
    project: Project, name: str | None = None, levers: InputLevers | None = None
) -> PromptedJudge | None:
    """The generative judge `name`, else the one that the settings name; None where they name none.

    It reads what `levers` leave of a turn, else those of the settings; with what labels say of its
    opinions on that, and with the adapter of a champion where a target trains it. Raises NotFound
    where there is no `[judges.NAME]`.
    """
    return configured_judge(project, name, levers or levers_of(project), adapters_of(project))


def prompt_of(project: Project) -> str:
    """Names what a causal judge is asked with now besides the conversation."""
    return prompt_hash(load_rubric(project.metrics_dir))


def rubrics_of(project: Project) -> tuple[list[RubricMetric], list[BadMetric]]:
    """The project's rubric metrics, and beside them why other Markdown files are none."""
    taken = [metric.name for metric in read_metrics(project.metrics_dir)[0]]
    return read_rubrics(project.metrics_dir, taken)

"""The steps of a retraining, the same for every target: freeze, train, ask the gate, follow it.

A project and a target in; a training set, a challenger, a verdict, a new champion out. The one idea
is that each step reads what the one before it has stored, so that they may be runs apart.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flywheel.errors import AddsNothing, NotEnough, Refused
from flywheel.gate import GateItem, GateVerdict
from flywheel.gate.answering import Contender
from flywheel.gate.holdout import judge_challenger
from flywheel.gate.replies import reply_challenger
from flywheel.in_use import embedder_of, judge_of, levers_of, prompt_of
from flywheel.judge.certifying import Goal
from flywheel.judge.configured import adapted_judge
from flywheel.judge.judge import Judge
from flywheel.judge.rubric import load_rubric
from flywheel.judge.scoring import Progress, no_progress
from flywheel.models.causal_host import causal_folder, host_in
from flywheel.models.folders import weights_hash
from flywheel.registry import (
    CHALLENGER,
    CHAMPION,
    Promotion,
    Version,
    alias_of,
    follow_verdict,
    keep_card,
    list_versions,
    register_as,
)
from flywheel.store import Project
from flywheel.store.ledger import Ledger
from flywheel.training.adapters import Recipe, base_version, train_adapter
from flywheel.training.challenger import (
    Challenger,
    about_judge,
    judge_in,
    newest_manifest,
    train_challenger,
)
from flywheel.training.dataset import KIND, TrainingSet, read_training_set, take_training_set
from flywheel.training.examples.snapshot import (
    ExampleSet,
    read_example_set,
    take_example_set,
)
from flywheel.training.targets import JUDGE, Target, targets_of

# Who moves the aliases when no person does.
ACTOR = "pipeline"
AnySet = TrainingSet | ExampleSet


def champion_of(project: Project, target: Target = JUDGE) -> str:
    """The version of a target that is in use; `none yet` of a causal one that was never trained."""
    if not target.is_causal:
        return judge_of(project, target=target.name).version
    champion = alias_of(project.stores.ledger, target.name, CHAMPION)
    return champion.version if champion else "none yet"


def retrain(
    project: Project, progress: Progress = no_progress, target: Target = JUDGE
) -> GateVerdict:
    """Train a challenger on all labels outside the holdout, and let the gate decide.

    Raises NotEnough where the labels do not carry a training, and AddsNothing where it would give
    the newest version again.
    """
    train(project, take_set(project, target), progress, target)
    verdict, _ = gate(project, target)
    follow_gate(project, target)
    return verdict


def take_set(project: Project, target: Target = JUDGE) -> AnySet:
    """Freeze what a target learns from now."""
    stores = project.stores
    if not target.is_causal:
        return take_training_set(stores, levers_of(project), target.apps)
    with stores.ledger.read() as ledger:
        considered = newest_manifest(ledger, target).get("considered", ())
    return take_example_set(
        stores,
        target,
        project.settings.training,
        levers_of(project),
        load_rubric(project.metrics_dir),
        {int(i) for i in considered},
    )


def read_set(project: Project, name: str, target: Target = JUDGE) -> AnySet:
    """What a target was to learn from, as it was frozen."""
    reads = read_example_set if target.is_causal else read_training_set
    return reads(project.stores, name)


def labels_in(taken: AnySet) -> dict[str, int]:
    """How many labels, or examples, of each part of the data are learnt from."""
    if isinstance(taken, ExampleSet):
        good = sum(example.is_good for example in taken.train)
        failures = len(taken.train) - good
        return {"good": good, "failures": failures, "validation": len(taken.validation)}
    return {part: len(rows) for part, rows in taken.rows.items()}


def train(
    project: Project,
    taken: AnySet,
    progress: Progress = no_progress,
    target: Target = JUDGE,
) -> Challenger:
    """Fit a challenger on what was frozen, register it with its lineage, and put it up.

    Raises NotEnough where there is too little to learn from, AddsNothing where the newest version
    was made of the same in the same way, or where some of it was forgotten meanwhile.
    """
    ledger = project.stores.ledger
    if isinstance(taken, ExampleSet):
        entered = alias_of(ledger, target.name, CHAMPION)
        parent = entered.version if entered else base_version(target)
        made = _train_causal(project, taken, target, parent, progress)
        if entered is None:
            _enter(ledger, target, parent, "the base, which has learnt nothing here")
    else:
        champion = judge_of(project, target=target.name)
        parent = champion.version
        made = _train_judge(project, taken, target, parent, progress)
        if target == JUDGE:
            _enter_cold_start(ledger, champion)
    _require_own(project, target, lambda known: known.version == made.version)
    _require_unforgotten(project, target, taken, made)
    # The same labels give the same judge, which may be the champion by now.
    if made.version != parent:
        version = target.name, made.version, made.manifest, made.version, parent
        register_as(ledger, CHALLENGER, *version, ACTOR, "newest training", taken.learnt)
    made.end_training()
    return made


def _train_judge(
    project: Project, taken: TrainingSet, target: Target, parent: str, progress: Progress
) -> Challenger:
    settings, wanted = project.settings.training, project.settings.judge
    embedder, levers = embedder_of(project), levers_of(project)
    goal = Goal(wanted.target_agreement, wanted.certify_alpha)
    about = about_judge(taken, embedder, levers, settings, goal)
    _require_news(project, target, about)
    # Of the same labels another target has made the same; a causal version is named by its target.
    _require_own(project, target, lambda known: _is_made_of(known.manifest, about))
    return train_challenger(
        project.stores, taken, embedder, levers, settings, parent, progress, goal
    )


def _train_causal(
    project: Project, taken: ExampleSet, target: Target, parent: str, progress: Progress
) -> Challenger:
    recipe = Recipe(
        target,
        project.settings.training,
        prompt_of(project) if target.kind == "chat-judge" else "",
        project.settings.compute.threads,
    )
    _require_news(project, target, recipe.about(taken))
    return train_adapter(project.stores, taken, recipe, parent, progress)


def _require_news(project: Project, target: Target, about: dict[str, object]) -> None:
    """Raise AddsNothing where the newest version was made of all that this one would be made of."""
    with project.stores.ledger.read() as ledger:
        newest = newest_manifest(ledger, target)
    if newest and _is_made_of(newest, about):
        raise AddsNothing(
            "the newest version was trained on the same examples with the same settings, so that "
            "it would add nothing; decide on more traces outside the holdout"
        )


def _is_made_of(manifest: Mapping[str, object], about: dict[str, object]) -> bool:
    """Whether a version was made of all this; a manifest is as JSON has it."""
    plain = json.loads(json.dumps(about))
    return all(manifest.get(name) == value for name, value in plain.items())


def _require_own(project: Project, target: Target, is_same: Callable[[Version], bool]) -> None:
    """Raise AddsNothing where another target has the version that this one would be."""
    for other in targets_of(project.settings):
        if other == target:
            continue
        for known in list_versions(project.stores.ledger, other.name):
            if is_same(known):
                raise AddsNothing(
                    f"it would be the {known.version} of {other.name}: their labels are the same"
                )


def _require_unforgotten(project: Project, target: Target, taken: AnySet, made: Challenger) -> None:
    """Raise AddsNothing where somebody was forgotten while their words were being learnt.

    Forgetting writes a training set anew under another name; what was made of it is not kept.
    """
    artifacts = project.stores.artifacts
    if (artifacts.root / KIND / taken.name).exists():
        return
    made.end_training()
    versions = list_versions(project.stores.ledger, target.name)
    if all(known.version != made.version for known in versions):
        artifacts.remove(target.artifacts, made.version)
    raise AddsNothing(
        "some of what it learnt was forgotten while it was trained, so it is not kept; the next "
        "retraining is without that"
    )


def _enter_cold_start(ledger: Ledger, champion: Judge) -> None:
    """Make the judge in use the champion where it is none yet, so that there is a way back to it.

    Only the cold-start judge can be that: in a new project, or under a new version of its own.
    """
    entered = alias_of(ledger, JUDGE.name, CHAMPION)
    if entered is None or entered.version != champion.version:
        _enter(ledger, JUDGE, champion.version, "it needs no labels")


def _enter(ledger: Ledger, target: Target, version: str, why: str) -> None:
    register_as(ledger, CHAMPION, target.name, version, {}, None, None, ACTOR, why)


def gate(project: Project, target: Target = JUDGE) -> tuple[GateVerdict, list[GateItem]]:
    """The verdict on the challenger against the champion, and the holdout it was given on.

    Raises NotEnough where there is no challenger.
    """
    ledger, stores, settings = project.stores.ledger, project.stores, project.settings
    challenger = alias_of(ledger, target.name, CHALLENGER)
    if challenger is None:
        raise NotEnough("challengers of the champion", 0, 1)
    general = project.folder / settings.gate.general if settings.gate.general else None
    if target.kind == "judge":
        return judge_challenger(
            stores,
            judge_of(project, target=target.name),
            judge_in(stores, challenger.version, embedder_of(project)),
            settings.gate,
            target=target.name,
            apps=target.apps,
            general=general,
        )
    champion = alias_of(ledger, target.name, CHAMPION)
    if champion is None:
        raise Refused(f"{target.name} has no champion; train it once more, which enters its base")
    both = champion, challenger
    _require_base(target, both)
    if target.kind == "chat-judge":
        old, new = (
            adapted_judge(project, target.judge, target.base, folder, levers_of(project))
            for folder in _folders(project, both)
        )
        return judge_challenger(
            *(stores, old, new, settings.gate),
            target=target.name,
            apps=target.apps,
            versions=(champion.version, challenger.version),
            general=general,
        )
    host = host_in(causal_folder(target.base), settings.compute.threads)
    versions = (version.version for version in both)
    before, after = map(Contender, versions, _folders(project, both))
    return reply_challenger(
        *(stores, host, before, after, settings.gate), target=target.name, apps=target.apps
    )


def _require_base(target: Target, versions: Sequence[Version]) -> None:
    """Raise Refused where a version is of another base than the target's is now."""
    base = base_version(target)
    of_weights = weights_hash(causal_folder(target.base))
    for version in versions:
        # A base is a version without files, and named by its weights.
        if of_weights == version.manifest.get("base_hash") or version.version == base:
            continue
        raise Refused(
            f"{version.version} of {target.name} is of another base than {target.base}, and the "
            "gate compares what shares one; name the former base again, or train on this one and "
            "promote that version by force"
        )


def _folders(project: Project, versions: Sequence[Version]) -> list[Path | None]:
    """The adapters of versions; None for the base itself."""
    return [
        project.stores.artifacts.path("adapters", version.artifact) if version.artifact else None
        for version in versions
    ]


def follow_gate(project: Project, target: Target = JUDGE) -> Promotion | None:
    """Make the challenger the champion where it passed and the settings leave that to the gate.

    Its evaluation card is kept among the artifacts, as it is then.
    """
    ledger = project.stores.ledger
    challenger = alias_of(ledger, target.name, CHALLENGER)
    if challenger is None or challenger.verdict is None:
        return None
    settings = project.settings.gate
    moved = follow_verdict(ledger, target.name, challenger.verdict, settings, ACTOR)
    keep_card(project.stores, target.name, challenger.version)
    return moved

"""A challenger: a judge fitted on the training set, saved, registered and aliased.

A training set in, a version in the registry out. The same training set, settings and seed give the
same version, so that a run that is repeated adds nothing.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from flywheel.judge.certifying import DEFAULT_GOAL, Goal
from flywheel.judge.files import KIND, load_judge, save_judge
from flywheel.judge.judge import Judge
from flywheel.judge.scoring import Progress, no_progress
from flywheel.models.embedder import Embedder
from flywheel.settings import TrainingSettings
from flywheel.store import Stores
from flywheel.store.tables import decisions, trace_documents, versions
from flywheel.traces.conversations import InputLevers
from flywheel.traces.labelled import require_both_classes
from flywheel.training.dataset import TrainingSet
from flywheel.training.fit import FitReport, fit_judge
from flywheel.training.targets import JUDGE, Target

# Checkpoints of trainings under way, a folder a target.
TRAININGS = "trainings"


@dataclass(frozen=True, slots=True)
class Challenger:
    """A stored version and how it was made.

    `work` has the checkpoints of its training, a file or a folder, until it is registered.
    """

    version: str
    manifest: Mapping[str, object]
    work: Path | None = None

    def end_training(self) -> None:
        """Remove the checkpoints: nobody has to go on from them."""
        if self.work is not None and self.work.is_dir():
            shutil.rmtree(self.work)
        elif self.work is not None:
            self.work.unlink(missing_ok=True)


def train_challenger(
    stores: Stores,
    training_set: TrainingSet,
    embedder: Embedder,
    levers: InputLevers,
    settings: TrainingSettings,
    parent: str,
    progress: Progress = no_progress,
    goal: Goal = DEFAULT_GOAL,
) -> Challenger:
    """Fit a judge on the training set from the base, and store it; no alias is moved here.

    Raises NotEnough where there are fewer than five labels of either class.
    """
    fitted_on = training_set.rows["train"] + training_set.rows["validation"]
    require_both_classes(fitted_on)
    checkpoint = _checkpoint(stores, training_set)
    judge, report = fit_judge(
        fitted_on,
        training_set.rows["calibration"],
        embedder,
        levers,
        settings,
        progress,
        goal=goal,
        checkpoint=checkpoint,
    )
    about = about_judge(training_set, embedder, levers, settings, goal)
    manifest = _manifest(training_set, about, parent, report)
    with stores.artifacts.new_folder(KIND, judge.version) as folder:
        save_judge(judge, folder, manifest)
    return Challenger(judge.version, manifest, checkpoint)


def about_judge(
    training_set: TrainingSet,
    embedder: Embedder,
    levers: InputLevers,
    settings: TrainingSettings,
    goal: Goal,
) -> dict[str, object]:
    """All that the outcome depends on, as a manifest says it."""
    return {
        "base": embedder.version,
        "content": training_set.content,
        "levers": levers.named(),
        "goal": asdict(goal),
        "settings": settings.model_dump(),
    }


def _checkpoint(stores: Stores, training_set: TrainingSet) -> Path:
    """Where the adapter's training is found again when it was killed; others are given up."""
    path = stores.artifacts.root / TRAININGS / KIND / f"{training_set.name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.glob("*.safetensors"):
        if other != path:
            other.unlink(missing_ok=True)
    return path


def _manifest(
    training_set: TrainingSet, about: dict[str, object], parent: str, report: FitReport
) -> dict[str, object]:
    return {
        **about,
        "training_set": training_set.name,
        "left_out": dict(training_set.left_out),
        "corrections": training_set.correction_ids,
        "considered": training_set.considered,
        "parent": parent,
        "fit": report.as_dict(),
    }


@dataclass(frozen=True, slots=True)
class NewLabels:
    """Decisions that stand and that no training has considered; `ids` names them."""

    ids: list[str]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.ids)


def labels_since_training(stores: Stores, target: Target = JUDGE) -> NewLabels:
    """Decisions that stand now and that the target's newest version did not consider.

    Those on a sensitive trace are left out: nothing is trained on it; and for a target of some
    applications those on traces of others. Reads the ledger alone, so that a sensor may ask often.
    Decisions are compared one by one: an id that commits late is not overlooked.
    """
    undone = sa.select(decisions.c.undoes).where(decisions.c.kind == "undo")
    stands = decisions.c.decision_id.not_in(undone)
    sensitive = sa.select(decisions.c.trace_id).where(decisions.c.kind == "sensitive", stands)
    wanted = sa.select(decisions.c.decision_id).where(
        decisions.c.kind.in_(("decide", "adjudicate")),
        stands,
        decisions.c.trace_id.not_in(sensitive),
    )
    if target.apps:
        # What is decided on has a document, by which its application is known.
        of_apps = sa.select(trace_documents.c.trace_id).where(
            trace_documents.c.app.in_(target.apps)
        )
        wanted = wanted.where(decisions.c.trace_id.in_(of_apps))
    with stores.ledger.read() as ledger:
        standing = ledger.scalars(wanted.order_by(decisions.c.decision_id)).all()
        newest = newest_manifest(ledger, target)
    considered = set(newest.get("considered", ()))
    return NewLabels([str(i) for i in standing if str(i) not in considered])


def newest_manifest(ledger: sa.Connection, target: Target) -> dict[str, Any]:
    """What is known of the version of a target that was trained last; nothing where none was."""
    newest = ledger.scalars(
        sa.select(versions.c.manifest)
        # What has no files, such as the cold-start judge, considered nothing.
        .where(versions.c.target == target.name, versions.c.artifact.is_not(None))
        .order_by(versions.c.created_at.desc(), versions.c.version)
    ).first()
    found: dict[str, Any] = json.loads(newest) if newest else {}
    return found


def judge_in(stores: Stores, version: str, embedder: Embedder) -> Judge:
    """The judge of a registered version, from its artifact."""
    return load_judge(stores.artifacts.path(KIND, version), embedder)

"""A challenger: a judge fitted on the training set, saved, registered and aliased.

A training set in, a version in the registry out. The same training set, settings and seed give the
same version, so that a run that is repeated adds nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from flywheel.judge.files import KIND, load_judge, save_judge
from flywheel.judge.judge import Judge
from flywheel.judge.scoring import Progress, no_progress
from flywheel.models.embedder import Embedder
from flywheel.settings import TrainingSettings
from flywheel.store import Stores
from flywheel.store.tables import decisions, versions
from flywheel.traces.conversations import InputLevers
from flywheel.traces.labelled import require_both_classes
from flywheel.training.dataset import TrainingSet
from flywheel.training.fit import FitReport, fit_judge


@dataclass(frozen=True, slots=True)
class Challenger:
    """A registered judge and how it was fitted."""

    version: str
    judge: Judge
    manifest: Mapping[str, object]


def train_challenger(
    stores: Stores,
    training_set: TrainingSet,
    embedder: Embedder,
    levers: InputLevers,
    settings: TrainingSettings,
    parent: str,
    progress: Progress = no_progress,
) -> Challenger:
    """Fit a judge on the training set from the base, and store it; no alias is moved here.

    Raises NotEnough where there are fewer than five labels of either class.
    """
    fitted_on = training_set.rows["train"] + training_set.rows["validation"]
    require_both_classes(fitted_on)
    judge, report = fit_judge(
        fitted_on, training_set.rows["calibration"], embedder, levers, settings, progress
    )
    manifest = _manifest(training_set, embedder, settings, parent, report)
    with stores.artifacts.new_folder(KIND, judge.version) as folder:
        save_judge(judge, folder, manifest)
    return Challenger(judge.version, judge, manifest)


def _manifest(
    training_set: TrainingSet,
    embedder: Embedder,
    settings: TrainingSettings,
    parent: str,
    report: FitReport,
) -> dict[str, object]:
    return {
        "base": embedder.version,
        "training_set": training_set.name,
        "corrections": training_set.correction_ids,
        "considered": training_set.considered,
        "parent": parent,
        "settings": settings.model_dump(),
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


def labels_since_training(stores: Stores) -> NewLabels:
    """Decisions that stand now and that the newest challenger did not consider.

    Those on a sensitive trace are left out: nothing is trained on it. Reads the ledger alone, so
    that a sensor may ask often. Decisions are compared one by one: an id that commits late is not
    overlooked.
    """
    undone = sa.select(decisions.c.undoes).where(decisions.c.kind == "undo")
    stands = decisions.c.decision_id.not_in(undone)
    sensitive = sa.select(decisions.c.trace_id).where(decisions.c.kind == "sensitive", stands)
    with stores.ledger.read() as ledger:
        standing = ledger.scalars(
            sa.select(decisions.c.decision_id)
            .where(
                decisions.c.kind.in_(("decide", "adjudicate")),
                stands,
                decisions.c.trace_id.not_in(sensitive),
            )
            .order_by(decisions.c.decision_id)
        ).all()
        newest = ledger.scalars(
            sa.select(versions.c.manifest)
            # The cold-start judge has no files, and considered nothing.
            .where(versions.c.target == "judge", versions.c.artifact.is_not(None))
            .order_by(versions.c.created_at.desc(), versions.c.version)
        ).first()
    considered = set(json.loads(newest).get("considered", ())) if newest else set()
    return NewLabels([str(i) for i in standing if str(i) not in considered])


def judge_in(stores: Stores, version: str, embedder: Embedder) -> Judge:
    """The judge of a registered version, from its artifact."""
    return load_judge(stores.artifacts.path(KIND, version), embedder)

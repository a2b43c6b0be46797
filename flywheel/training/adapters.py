"""A causal challenger: an adapter trained on a target's examples, stored under its version.

An example set in, an artifact folder and its manifest out. The one idea is that checkpoints stand
beside the artifacts under a name that says what is trained, so that a training that was killed is
found again, and goes on where it was.
"""

import json
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from flywheel.errors import AddsNothing
from flywheel.judge.scoring import Progress, no_progress
from flywheel.models.causal_host import causal_folder
from flywheel.models.folders import weights_hash
from flywheel.settings import TrainingSettings
from flywheel.store import Stores
from flywheel.training.causal.fit import fit_causal
from flywheel.training.causal.report import CausalFit, Purpose
from flywheel.training.challenger import TRAININGS, Challenger
from flywheel.training.examples.arms import ArmRows, arm_rows
from flywheel.training.examples.snapshot import ExampleSet
from flywheel.training.targets import ADAPTERS, Target

# In place of checkpoints, why a training gave nothing: the same one again would take as long.
IN_VAIN = "in_vain.txt"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a causal target is trained; two trainings of one recipe give the same version."""

    target: Target
    settings: TrainingSettings
    prompt_hash: str = ""
    threads: int = 1

    @property
    def base_hash(self) -> str:
        """The weights of its base."""
        return weights_hash(causal_folder(self.target.base))

    def about(self, taken: ExampleSet) -> dict[str, object]:
        """All that the outcome depends on, as a manifest says it."""
        return {
            "target_kind": self.target.kind,
            "base": self.target.base,
            "base_hash": self.base_hash,
            "arm": self.target.arm,
            "prompt_hash": self.prompt_hash,
            "settings": self.settings.model_dump(),
            "content": taken.content,
        }


def base_version(target: Target) -> str:
    """The version of a causal target that has learnt nothing: its base."""
    return f"{target.name}-base-{weights_hash(causal_folder(target.base))[:12]}"


def train_adapter(
    stores: Stores,
    taken: ExampleSet,
    recipe: Recipe,
    parent: str,
    progress: Progress = no_progress,
) -> Challenger:
    """Train an adapter on the example set from the base, and store it; no alias is moved here.

    Raises NotEnough where no example is left for the arm, and AddsNothing where no step was better
    than the base on the validation split.
    """
    target, settings = recipe.target, recipe.settings
    rows = arm_rows(taken.train, target.arm)
    about = recipe.about(taken)
    work = stores.artifacts.root / TRAININGS / target.name / _fingerprint(about)
    _remove_others(work)
    in_vain, out = work / IN_VAIN, work / "adapter"
    if in_vain.exists():
        raise AddsNothing(in_vain.read_text(encoding="utf-8"))
    # Whole or not, it is written again from the last checkpoint.
    shutil.rmtree(out, ignore_errors=True)
    fit = fit_causal(
        rows,
        taken.validation,
        target.base,
        settings,
        out,
        work,
        progress,
        Purpose(target.kind, taken.name, recipe.prompt_hash),
        recipe.threads,
    )
    if fit.adds_nothing:
        why = (
            f"after {fit.steps} steps the loss on the validation split was never below that of "
            "the base; label or correct more, or try another arm"
        )
        shutil.rmtree(work)
        work.mkdir()
        in_vain.write_text(why, encoding="utf-8")
        raise AddsNothing(why)
    version = f"{target.name}-{weights_hash(out)[:12]}"
    with stores.artifacts.new_folder(ADAPTERS, version) as folder:
        shutil.copytree(out, folder, dirs_exist_ok=True)
    return Challenger(version, _manifest(taken, about, rows, fit, parent), work)


def _manifest(
    taken: ExampleSet, about: dict[str, object], rows: ArmRows, fit: CausalFit, parent: str
) -> dict[str, object]:
    return {
        **about,
        "training_set": taken.name,
        "corrections": taken.correction_ids,
        "considered": taken.considered,
        "left_out": dict(taken.left_out) | dict(fit.left_out),
        "tag": rows.tag.text if rows.tag else None,
        "tag_words": list(rows.tag.words) if rows.tag else [],
        "rank": fit.rank,
        "parent": parent,
        "fit": fit.as_dict(),
    }


def _fingerprint(about: dict[str, object]) -> str:
    return sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _remove_others(work: Path) -> None:
    """Remove checkpoints of trainings of other labels or settings; nobody goes on with them."""
    work.mkdir(parents=True, exist_ok=True)
    for other in work.parent.iterdir():
        if other != work:
            shutil.rmtree(other)

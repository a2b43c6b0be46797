"""A judge from labels: each tier fitted from the base, calibrated, certified where it earns it.

Labelled conversations in, a `Judge` and what was chosen out. Choices are made on the training rows
alone, and thresholds certified on probabilities of labels that a model had not seen: out of fold,
and of the calibration split. A holdout never comes here.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flywheel.judge.calibration import Calibration, fit_calibration
from flywheel.judge.certifying import DEFAULT_GOAL, Certification, Goal, certify
from flywheel.judge.encoder import FrozenModel, Views, fit_pair_scale, frozen_model, views_of
from flywheel.judge.features import RawFeatures, fit_scale, raw_features
from flywheel.judge.judge import Judge, ReactionModel
from flywheel.judge.lexical import LexicalModel, lexical_model
from flywheel.judge.people import Bools, people_of
from flywheel.judge.reactions import Floats, Pooling
from flywheel.judge.scoring import Progress, no_progress
from flywheel.models.embedder import Embedder
from flywheel.records import LabelledConversation, Tier
from flywheel.settings import RetrievalSettings, TrainingSettings
from flywheel.traces.conversations import InputLevers
from flywheel.training.lora import LoraFit, fit_lora
from flywheel.training.selection import (
    Choice,
    Integers,
    Material,
    choose,
    is_clearly_better,
    leanings,
    material_of,
    regression,
)

# Inverse strengths of the L2 penalty that are tried; many dense features need a stronger one.
LEXICAL_CS = (0.3, 1.0, 3.0)
FROZEN_CS = (0.03, 0.1, 0.3)
STEPS = 4


@dataclass(frozen=True, slots=True)
class TierFit:
    """How a tier was fitted: `cv_auc` is the mean ROC AUC over session-grouped folds."""

    cv_auc: float
    fold_aucs: tuple[float, ...]
    c: float
    pooling: Pooling
    calibration: Calibration
    cpu_s: float


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit saw and chose; `best` is the tier that reads sampled traces, and `why` it is."""

    n: int
    positives: int
    tiers: dict[Tier, TierFit]
    lora: LoraFit | None
    best: Tier
    why: str
    certification: Certification

    def as_dict(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return asdict(self) | {"certification": self.certification.as_dict()}


@dataclass(frozen=True, slots=True)
class Base:
    """What every tier of a fit shares."""

    material: Material
    raw: RawFeatures
    views: Views
    embedder: Embedder
    calibration_rows: Sequence[LabelledConversation]
    seed: int


def fit_judge(
    labelled: Sequence[LabelledConversation],
    calibration_rows: Sequence[LabelledConversation],
    embedder: Embedder,
    levers: InputLevers,
    settings: TrainingSettings,
    progress: Progress = no_progress,
    with_lora: bool = True,
    goal: Goal = DEFAULT_GOAL,
    checkpoint: Path | None = None,
) -> tuple[Judge, FitReport]:
    """Fit every tier from the base; the LoRA tier is the best one only where it earns it.

    Calibrated on `calibration_rows` where they are enough, else on the out-of-fold logits; the
    judge has a cascade where the labels certify `goal`. A training of the adapter that was killed
    goes on from its `checkpoint`.
    """
    progress(0, STEPS)
    material = material_of(labelled)
    base = Base(
        material,
        raw_features(material.reactions),
        views_of(embedder, material.reactions),
        embedder,
        calibration_rows,
        settings.seed,
    )
    progress(1, STEPS)
    lexical, lexical_fit, of_lexical = _fit_lexical(base)
    progress(2, STEPS)
    frozen, frozen_fit, choice, of_frozen = _fit_frozen(base)
    progress(3, STEPS)
    unseen: dict[Tier, Floats] = {"lexical": of_lexical, "frozen": of_frozen}
    models: dict[Tier, ReactionModel] = {"lexical": lexical, "frozen": frozen}
    fits: dict[Tier, TierFit] = {"lexical": lexical_fit, "frozen": frozen_fit}
    calibrations = {tier: fit.calibration for tier, fit in fits.items()}
    lora_fit = None
    if with_lora:
        lora, lora_fit = fit_lora(frozen, material, choice.held_out, settings, checkpoint)
        models["lora"], calibrations["lora"] = lora, frozen_fit.calibration
        unseen["lora"] = _unseen_by_adapter(base, lora, frozen_fit.calibration)
    best, why = _best(fits, lora_fit)
    progress(STEPS, STEPS)
    certified = _certify(base, {tier: unseen[tier] for tier in ("lexical", best)}, goal)
    judge = Judge(models, calibrations, levers, best, certified.cascade)
    positives = int(material.truth.sum())
    report = FitReport(len(labelled), positives, fits, lora_fit, best, why, certified)
    return judge, report


def _fit_lexical(base: Base) -> tuple[LexicalModel, TierFit, Floats]:
    began = time.process_time()
    raw, material = base.raw, base.material
    taught = raw.take(material.taught)
    scale = fit_scale(taught)

    def predict(coef: Floats, intercept: float, rows: Integers) -> Floats:
        return scale.logits(raw.take(rows), coef, intercept)

    matrix = scale.matrix(taught)
    choice = choose(material, matrix, LEXICAL_CS, predict, base.seed)
    final = regression(choice.c).fit(matrix, material.truth)
    model = lexical_model(scale, final.coef_[0], float(final.intercept_[0]), choice.pooling)
    return model, *_finish(base, model, choice, began)


def _fit_frozen(base: Base) -> tuple[FrozenModel, TierFit, Choice, Floats]:
    began = time.process_time()
    raw, views, material = base.raw, base.views, base.material
    taught = raw.take(material.taught)
    scale = fit_pair_scale(fit_scale(taught), views[material.taught])

    def predict(coef: Floats, intercept: float, rows: Integers) -> Floats:
        model = frozen_model(base.embedder, scale, coef, intercept, "last")
        return model.logits(views[rows], raw.take(rows))

    matrix = scale.matrix(views[material.taught], taught)
    choice = choose(material, matrix, FROZEN_CS, predict, base.seed)
    final = regression(choice.c).fit(matrix, material.truth)
    model = frozen_model(
        base.embedder, scale, final.coef_[0], float(final.intercept_[0]), choice.pooling
    )
    fit, unseen = _finish(base, model, choice, began)
    return model, fit, choice, unseen


def _finish(
    base: Base, model: ReactionModel, choice: Choice, began: float
) -> tuple[TierFit, Floats]:
    """Calibrate a fitted tier, and say how it was fitted and what it makes of unseen labels."""
    calibration, unseen = _calibrate(base, model, choice)
    fit = TierFit(
        choice.cv_auc,
        choice.fold_aucs,
        choice.c,
        choice.pooling,
        calibration,
        time.process_time() - began,
    )
    return fit, unseen


def _calibrate(base: Base, model: ReactionModel, choice: Choice) -> tuple[Calibration, Floats]:
    """A tier's calibration, and its probabilities of labels that a model of its kind had not seen.

    Shape (n_labelled + n_calibration,): out of fold, then of the calibration rows.
    """
    material, rows = base.material, base.calibration_rows
    use_neighbours = model.tier != "lexical"
    logits, leaning = choice.pooled(material), _leanings(base, material.labelled, use_neighbours)
    of_people = _is_of_people(material.labelled)
    groups = [
        group for group, is_theirs in zip(material.groups, of_people, strict=True) if is_theirs
    ]
    found = fit_calibration(
        logits[of_people], leaning[of_people], material.truth[of_people], groups
    )
    held = material_of(rows)
    if not len(held.truth):
        return found, found.probability(logits, leaning)
    of_held = held.pooled(model.read(held.reactions)[0], choice.pooling)
    lean_held = _leanings(base, rows, use_neighbours)
    weight = np.array([row.weight for row in rows])
    found = fit_calibration(of_held, lean_held, held.truth, held.groups, weight, found)
    both = (np.concatenate(pair) for pair in ((logits, of_held), (leaning, lean_held)))
    return found, found.probability(*both)


def _unseen_by_adapter(base: Base, lora: ReactionModel, calibration: Calibration) -> Floats:
    """As `_calibrate`; NaN for what the adapter was trained or chosen on, which is not folded."""
    rows = base.calibration_rows
    held = material_of(rows)
    unknown = np.full(len(base.material.truth), np.nan)
    if not len(held.truth):
        return unknown
    logits = held.pooled(lora.read(held.reactions)[0], lora.pooling)
    return np.concatenate([unknown, calibration.probability(logits, _leanings(base, rows, True))])


def _certify(base: Base, tiers: Mapping[Tier, Floats], goal: Goal) -> Certification:
    rows = [*base.material.labelled, *base.calibration_rows]
    of_people = _is_of_people(rows)
    theirs = [row for row in rows if row.is_by_people]
    people = people_of(
        [row.perceived_error for row in theirs],
        [row.group for row in theirs],
        [row.weight for row in theirs],
    )
    return certify({tier: given[of_people] for tier, given in tiers.items()}, people, goal)


def _is_of_people(rows: Sequence[LabelledConversation]) -> Bools:
    """Which labels measure a judge: people's, and no panel's."""
    return np.array([row.is_by_people for row in rows], bool)


def _leanings(base: Base, rows: Sequence[LabelledConversation], use_neighbours: bool) -> Floats:
    # What retrieval gives for a trace is what people decided, and so are neighbours here.
    known = [row for row in base.material.labelled if row.is_by_people]
    if not use_neighbours or not known:
        return np.zeros(len(rows))
    return leanings(rows, known, base.embedder, RetrievalSettings())


def _best(fits: dict[Tier, TierFit], lora: LoraFit | None) -> tuple[Tier, str]:
    """The tier to go by: LoRA where it earns it, else frozen, unless lexical is clearly better.

    Clearly is by more than one standard error over the folds: on an application that it was not
    trained on, the frozen tier held where the lexical one did not (README, real labels).
    """
    if lora is not None and lora.auc_gain > 0:
        return "lora", f"LoRA adds {lora.auc_gain:.3f} to the AUC of the validation sessions"
    lexical, frozen = fits["lexical"], fits["frozen"]
    why = (
        ("LoRA was not trained" if lora is None else "LoRA adds nothing on validation sessions")
        + f"; frozen pairs reach an AUC of {frozen.cv_auc:.3f} over folds, lexical "
        f"{lexical.cv_auc:.3f}"
    )
    return "lexical" if is_clearly_better(lexical.fold_aucs, frozen.fold_aucs) else "frozen", why

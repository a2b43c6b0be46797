"""A judge from labels: each tier fitted from the base, calibrated, and kept where it earns it.

Labelled conversations in, a `Judge` and what was chosen out. Choices are made on the training rows
alone; a holdout never comes here.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flywheel.judge.calibration import Calibration, fit_calibration
from flywheel.judge.encoder import FrozenModel, Views, fit_pair_scale, frozen_model, views_of
from flywheel.judge.features import RawFeatures, fit_scale, raw_features
from flywheel.judge.judge import Judge, ReactionModel
from flywheel.judge.lexical import LexicalModel, lexical_model
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

    def as_dict(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return asdict(self)


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
) -> tuple[Judge, FitReport]:
    """Fit every tier from the base; the LoRA tier is the best one only where it earns it.

    Calibrated on `calibration_rows` where they are enough, else on the out-of-fold logits.
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
    lexical, lexical_fit = _fit_lexical(base)
    progress(2, STEPS)
    frozen, frozen_fit, choice = _fit_frozen(base)
    progress(3, STEPS)
    models: dict[Tier, ReactionModel] = {"lexical": lexical, "frozen": frozen}
    fits: dict[Tier, TierFit] = {"lexical": lexical_fit, "frozen": frozen_fit}
    calibrations = {tier: fit.calibration for tier, fit in fits.items()}
    lora_fit = None
    if with_lora:
        lora, lora_fit = fit_lora(frozen, material, choice.held_out, settings)
        models["lora"], calibrations["lora"] = lora, frozen_fit.calibration
    best, why = _best(fits, lora_fit)
    progress(STEPS, STEPS)
    judge = Judge(models, calibrations, levers, best)
    report = FitReport(len(labelled), int(material.truth.sum()), fits, lora_fit, best, why)
    return judge, report


def _fit_lexical(base: Base) -> tuple[LexicalModel, TierFit]:
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
    return model, _finish(base, model, choice, began)


def _fit_frozen(base: Base) -> tuple[FrozenModel, TierFit, Choice]:
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
    return model, _finish(base, model, choice, began), choice


def _finish(base: Base, model: ReactionModel, choice: Choice, began: float) -> TierFit:
    """Calibrate a fitted tier, and say how it was fitted."""
    calibration = _calibrate(base, model, choice)
    return TierFit(
        choice.cv_auc,
        choice.fold_aucs,
        choice.c,
        choice.pooling,
        calibration,
        time.process_time() - began,
    )


def _calibrate(base: Base, model: ReactionModel, choice: Choice) -> Calibration:
    material, rows = base.material, base.calibration_rows
    use_neighbours = model.tier != "lexical"
    start = fit_calibration(
        choice.pooled(material),
        _leanings(base, material.labelled, use_neighbours),
        material.truth,
        material.groups,
    )
    held = material_of(rows)
    if not len(held.truth):
        return start
    logits, _ = model.read(held.reactions)
    return fit_calibration(
        held.pooled(logits, choice.pooling),
        _leanings(base, rows, use_neighbours),
        held.truth,
        held.groups,
        np.array([row.weight for row in rows]),
        start,
    )


def _leanings(base: Base, rows: Sequence[LabelledConversation], use_neighbours: bool) -> Floats:
    if not use_neighbours:
        return np.zeros(len(rows))
    return leanings(rows, base.material.labelled, base.embedder, RetrievalSettings())


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

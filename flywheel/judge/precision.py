"""A judge's encoder tiers in other numbers than those they were fitted in.

A judge in, the same judge under a version of its own out. Its weights, calibrations and thresholds
stay; logits move by the rounding of a product, so opinions and rows are kept apart by version.
"""

from dataclasses import replace

from flywheel.judge.encoder import EncoderPrototypes, FrozenModel
from flywheel.judge.judge import Judge, ReactionModel
from flywheel.judge.lora import LoraModel
from flywheel.models.engine import Precision, precision_here, version_in


def in_precision(judge: Judge, wanted: Precision) -> Judge:
    """The judge with its encoder tiers run in `wanted`, or in float32 where that is faster here."""
    precision = precision_here(wanted)
    if precision == judge.precision:
        return judge
    models = {tier: _model_in(model, precision) for tier, model in judge.models.items()}
    return replace(judge, models=models, precision=precision)


def _model_in(model: ReactionModel, precision: Precision) -> ReactionModel:
    if isinstance(model, EncoderPrototypes):
        return replace(model, embedder=model.embedder.in_precision(precision))
    if isinstance(model, FrozenModel):
        return _frozen_in(model, precision)
    if isinstance(model, LoraModel):
        version = version_in(model.version, precision)
        return replace(model, frozen=_frozen_in(model.frozen, precision), version=version)
    return model


def _frozen_in(model: FrozenModel, precision: Precision) -> FrozenModel:
    embedder = model.embedder.in_precision(precision)
    return replace(model, embedder=embedder, version=version_in(model.version, precision))

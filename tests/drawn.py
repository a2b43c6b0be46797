"""A fitted judge whose adapter was drawn, not trained, and changes more than a training does."""

from dataclasses import replace

import numpy as np
import torch

from flywheel.judge.encoder import FrozenModel
from flywheel.judge.judge import Judge
from flywheel.judge.lora import PairEncoder, base_model, lora_model
from flywheel.models.adapters import quiet_peft
from flywheel.models.embedder import Embedder
from flywheel.settings import TrainingSettings
from flywheel.traces.conversations import InputLevers
from flywheel.training.fit import fit_judge
from tests.made_up import made_up

LEVERS = InputLevers()


def drawn_encoder(embedder: Embedder) -> PairEncoder:
    """A pair encoder with such an adapter."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear")
    with quiet_peft():
        model = get_peft_model(base_model(embedder), config).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    return PairEncoder(embedder, model)


def drawn_judge(embedder: Embedder, encoder: PairEncoder) -> Judge:
    """The judge, whose best tier is that of the encoder."""
    fitted, _ = fit_judge(
        made_up(40, n_rounds=2), [], embedder, LEVERS, TrainingSettings(), with_lora=False
    )
    frozen = fitted.models["frozen"]
    assert isinstance(frozen, FrozenModel)
    coef = np.random.default_rng(0).normal(size=embedder.dim)
    models = {**fitted.models, "lora": lora_model(frozen, encoder, coef, 0.1)}
    calibrations = {**fitted.calibrations, "lora": fitted.calibrations["frozen"]}
    return replace(fitted, models=models, calibrations=calibrations, best="lora")

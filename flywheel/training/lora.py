"""The LoRA adapter of the encoder judge: trained on what the frozen tier gets wrong.

Reactions, labels and the frozen tier's out-of-fold logits in; an adapter, a head and what the
validation sessions said of them out. Settings after Schulman et al., "LoRA Without Regret" (2025):
every linear layer, alpha 32, about ten times the learning rate of full fine-tuning, small batches.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flywheel.errors import NeverWill
from flywheel.judge.encoder import FrozenModel
from flywheel.judge.lora import (
    LoraModel,
    PairEncoder,
    base_model,
    by_length,
    lora_model,
    quiet_peft,
)
from flywheel.judge.reactions import Floats
from flywheel.models.embedder import Embedder
from flywheel.settings import TrainingSettings
from flywheel.statistics import roc_auc
from flywheel.training.selection import Bools, Integers, Material

if TYPE_CHECKING:
    import torch

ALPHA = 32
DROPOUT = 0.05
LEARNING_RATE = 5e-4
HEAD_LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.1
BATCH = 16
WARMUP_STEPS = 5
MAX_GRADIENT = 1.0


@dataclass(frozen=True, slots=True)
class LoraFit:
    """What training the adapter took and brought, on validation sessions that it did not see.

    `epochs` is how many were kept, 0 where the frozen tier alone did best; `auc_gain` is the
    validation ROC AUC with the adapter minus that without.
    """

    n_train: int
    n_validation: int
    epochs: int
    auc_frozen: float
    auc_gain: float
    trainable: dict[str, int]
    cpu_s: float


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is trained and checked on; `offset` are the frozen tier's out-of-fold logits."""

    tokens: Sequence[Sequence[int]]
    offset: Floats
    truth: Bools
    fit_on: Integers
    check_on: Integers

    def check_auc(self, say: Floats) -> float:
        """ROC AUC of the validation rows with the adapter's say on top of the frozen logits."""
        return roc_auc(self.truth[self.check_on], self.offset[self.check_on] + say)

    def check_loss(self, say: Floats) -> float:
        """Mean log loss of the validation rows, the classes weighted to count alike."""
        truth, logits = self.truth[self.check_on], self.offset[self.check_on] + say
        each = np.logaddexp(0, np.where(truth, -logits, logits))
        return float((each[truth].mean() + each[~truth].mean()) / 2)


@dataclass(frozen=True, slots=True)
class _Epoch:
    """An adapter and a head as they were after an epoch, and their say on the validation rows."""

    epoch: int
    say: Floats
    adapter: dict[str, "torch.Tensor"]
    head: dict[str, "torch.Tensor"]


def fit_lora(
    frozen: FrozenModel, material: Material, held_out: Floats, settings: TrainingSettings
) -> tuple[LoraModel, LoraFit]:
    """Train an adapter on top of the frozen tier, and keep the epoch that validation likes best.

    `held_out` are the frozen tier's out-of-fold logits of every reaction. Raises NeverWill where
    no MLP layer of the base would be trained.
    """
    import torch

    began = time.process_time()
    torch.manual_seed(settings.seed)
    encoder = _fresh_encoder(frozen.embedder, settings.rank)
    trainable = _trainable(encoder.model)
    head = torch.nn.Linear(encoder.model.config.hidden_size, 1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    rows = _Rows(
        encoder.tokens([material.reactions[i] for i in material.taught]),
        held_out[material.taught],
        material.truth,
        *material.folds(settings.seed)[0],
    )
    best = _best_epoch(encoder, head, rows, settings)
    _restore(encoder.model, best.adapter)
    head_weight = best.head["weight"][0].double().numpy()
    model = lora_model(frozen, encoder, head_weight, float(best.head["bias"][0]))
    auc = rows.check_auc(np.zeros(len(rows.check_on)))
    fit = LoraFit(
        len(rows.fit_on),
        len(rows.check_on),
        best.epoch,
        auc,
        rows.check_auc(best.say) - auc,
        trainable,
        time.process_time() - began,
    )
    return model, fit


def _best_epoch(
    encoder: PairEncoder, head: "torch.nn.Linear", rows: _Rows, settings: TrainingSettings
) -> _Epoch:
    """The epoch of least validation loss; the one before training is one of them."""
    silent = np.zeros(len(rows.check_on))
    best, least = _kept(0, silent, encoder, head), rows.check_loss(silent)
    for epoch, say in enumerate(_epochs(encoder, head, rows, settings), start=1):
        loss = rows.check_loss(say)
        if loss < least:
            best, least = _kept(epoch, say, encoder, head), loss
    return best


def _kept(epoch: int, say: Floats, encoder: PairEncoder, head: "torch.nn.Linear") -> _Epoch:
    return _Epoch(epoch, say, _trained_of(encoder.model), _trained_of(head))


def _epochs(
    encoder: PairEncoder, head: "torch.nn.Linear", rows: _Rows, settings: TrainingSettings
) -> Iterator[Floats]:
    """Train epoch by epoch; after each, the adapter's say on the validation rows, shape (n,)."""
    import torch

    offset = torch.tensor(rows.offset, dtype=torch.float32)
    truth = torch.tensor(rows.truth, dtype=torch.float32)
    balance = torch.tensor(float((~rows.truth).sum() / rows.truth.sum()))
    adapter = [p for p in encoder.model.parameters() if p.requires_grad]
    steps = -(-len(rows.fit_on) // BATCH) * settings.epochs
    optimiser, schedule = _optimiser(adapter, head, steps)
    rng = np.random.default_rng(settings.seed)
    for _ in range(settings.epochs):
        encoder.model.train()
        for batch in _shuffled_batches(rows, rng):
            said = head(encoder.pooled([rows.tokens[i] for i in batch]))[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                said + offset[batch], truth[batch], pos_weight=balance
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(adapter, MAX_GRADIENT)
            optimiser.step()
            schedule.step()
        yield _say(encoder, head, [rows.tokens[i] for i in rows.check_on])


def _optimiser(
    adapter: "list[torch.nn.Parameter]", head: "torch.nn.Linear", steps: int
) -> "tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]":
    """The optimiser, and a rate that warms up and then falls to a twentieth over `steps`."""
    import torch

    optimiser = torch.optim.AdamW(
        [
            {"params": adapter, "lr": LEARNING_RATE, "weight_decay": 0.0},
            {"params": head.parameters(), "lr": HEAD_LEARNING_RATE, "weight_decay": WEIGHT_DECAY},
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / WARMUP_STEPS) * max(0.05, 1 - step / steps)
    )
    return optimiser, schedule


def _shuffled_batches(rows: _Rows, rng: np.random.Generator) -> list[list[int]]:
    """Batches of like length in random order: shuffled, cut into eights, ordered within."""
    order = rng.permutation(rows.fit_on)
    batches = []
    for start in range(0, len(order), 8 * BATCH):
        part = [int(i) for i in order[start : start + 8 * BATCH]]
        batches += [
            [part[k] for k in chunk] for chunk in by_length([rows.tokens[i] for i in part], BATCH)
        ]
    return [batches[i] for i in rng.permutation(len(batches))]


def _say(encoder: PairEncoder, head: "torch.nn.Linear", tokens: Sequence[Sequence[int]]) -> Floats:
    import torch

    encoder.model.eval()
    said = np.zeros(len(tokens))
    with torch.inference_mode():
        for rows in by_length(tokens, 64):
            said[rows] = head(encoder.pooled([tokens[i] for i in rows]))[:, 0].double().numpy()
    return said


def _fresh_encoder(embedder: Embedder, rank: int) -> PairEncoder:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules="all-linear")
    with quiet_peft():
        return PairEncoder(embedder, get_peft_model(base_model(embedder), config))


def _trainable(model: Any) -> dict[str, int]:  # noqa: ANN401
    """Trainable parameters by kind of layer; raises NeverWill where no MLP layer has any."""
    counts = {"attention": 0, "mlp": 0}
    names = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            names.append(name)
            kind = "attention" if "attention" in name or "attn" in name else "mlp"
            counts[kind] += 0 if "pooler" in name else parameter.numel()
    if counts["mlp"] == 0:
        raise NeverWill(f"no MLP layer would be trained, only {', '.join(names[:4])}")
    return counts


def _trained_of(model: Any) -> dict[str, "torch.Tensor"]:  # noqa: ANN401
    return {n: p.detach().cpu().clone() for n, p in model.named_parameters() if p.requires_grad}


def _restore(model: Any, state: dict[str, "torch.Tensor"]) -> None:  # noqa: ANN401
    for name, parameter in model.named_parameters():
        if name in state:
            parameter.data.copy_(state[name])
    model.eval()

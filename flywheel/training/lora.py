"""The LoRA adapter of the encoder judge: trained on what the frozen tier gets wrong.

Reactions, labels and the frozen tier's out-of-fold logits in; an adapter, a head and what the
validation sessions said of them out. Settings after Schulman et al., "LoRA Without Regret" (2025):
every linear layer, alpha 32, about ten times the learning rate of full fine-tuning, small batches.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flywheel.judge.encoder import FrozenModel
from flywheel.judge.judge import array_fingerprint
from flywheel.judge.lora import (
    LoraModel,
    PairEncoder,
    base_model,
    by_length,
    lora_model,
)
from flywheel.judge.reactions import Floats
from flywheel.models.adapters import quiet_peft
from flywheel.models.embedder import Embedder
from flywheel.settings import TrainingSettings
from flywheel.statistics import roc_auc
from flywheel.training.descent import (
    Batch,
    Course,
    Descent,
    Group,
    descend,
    planned_batches,
    restore,
)
from flywheel.training.layers import ALPHA, trainable_numbers
from flywheel.training.placement import placement_here
from flywheel.training.selection import Bools, Integers, Material

if TYPE_CHECKING:
    import torch

# Where the setting leaves it open: a set of some hundred labels holds no more bits.
RANK = 8
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

    def fingerprint(self) -> str:
        """Names what is learnt from, for a checkpoint."""
        tokens = np.concatenate([np.asarray(row, np.int64) for row in self.tokens])
        return array_fingerprint([tokens, self.offset, self.truth, self.fit_on, self.check_on], "")

    def check_auc(self, say: Floats) -> float:
        """ROC AUC of the validation rows with the adapter's say on top of the frozen logits."""
        return roc_auc(self.truth[self.check_on], self.offset[self.check_on] + say)

    def check_loss(self, say: Floats) -> float:
        """Mean log loss of the validation rows, the classes weighted to count alike."""
        truth, logits = self.truth[self.check_on], self.offset[self.check_on] + say
        each = np.logaddexp(0, np.where(truth, -logits, logits))
        return float((each[truth].mean() + each[~truth].mean()) / 2)


def fit_lora(
    frozen: FrozenModel,
    material: Material,
    held_out: Floats,
    settings: TrainingSettings,
    checkpoint: Path | None = None,
) -> tuple[LoraModel, LoraFit]:
    """Train an adapter on top of the frozen tier, and keep the epoch that validation likes best.

    `held_out` are the frozen tier's out-of-fold logits of every reaction. A training that was
    killed goes on from its `checkpoint`. Raises NeverWill where no MLP layer would be trained.
    """
    import torch

    began = time.process_time()
    torch.manual_seed(settings.seed)
    encoder = _fresh_encoder(frozen.embedder, settings.rank or RANK)
    trainable = trainable_numbers(encoder.model)
    head = torch.nn.Linear(encoder.model.config.hidden_size, 1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    fit_on, check_on = material.folds(settings.seed)[0]
    rows = _Rows(
        encoder.tokens([material.reactions[i] for i in material.taught]),
        held_out[material.taught],
        material.truth,
        fit_on,
        # A panel's labels teach, and measure nothing.
        check_on[material.measures[check_on]],
    )
    learner = _PairLearner(encoder, head, rows)
    went = _learn(learner, rows, settings, checkpoint)
    silent = np.zeros(len(rows.check_on))
    auc = rows.check_auc(silent)
    said = learner.say() if went.best_step else silent
    learner.to(torch.device("cpu"))
    head_weight = head.weight.detach()[0].double().numpy()
    model = lora_model(frozen, encoder, head_weight, float(head.bias.detach()[0]))
    fit = LoraFit(
        len(rows.fit_on),
        len(rows.check_on),
        [0, *_ends_of_epochs(rows, settings.epochs)].index(went.best_step),
        auc,
        rows.check_auc(said) - auc,
        trainable,
        time.process_time() - began,
    )
    return model, fit


def _learn(
    learner: "_PairLearner", rows: _Rows, settings: TrainingSettings, checkpoint: Path | None
) -> Descent:
    """Learn for all epochs, and leave the learner as it was after the best, or before the first."""
    lengths = [len(row) for row in rows.tokens]
    fit_on = [int(i) for i in rows.fit_on]
    epochs = planned_batches(lengths, fit_on, BATCH, settings.epochs, settings.seed)
    course = Course(
        tuple(batch for epoch in epochs for batch in epoch),
        tuple(_ends_of_epochs(rows, settings.epochs)),
        WARMUP_STEPS,
        max_gradient=MAX_GRADIENT,
        about=f"{settings.seed} {rows.fingerprint()}",
    )
    silent = rows.check_loss(np.zeros(len(rows.check_on)))
    place = placement_here()
    learner.to(place.device)
    went = descend(learner, course, place, checkpoint, first_loss=silent)
    restore(learner, went.best)
    learner.encoder.model.eval()
    return went


def _ends_of_epochs(rows: _Rows, epochs: int) -> list[int]:
    """The steps after which an epoch has ended."""
    a_epoch = -(-len(rows.fit_on) // BATCH)
    return [a_epoch * epoch for epoch in range(1, epochs + 1)]


class _PairLearner:
    """The adapter and the head, on top of what the frozen tier says."""

    def __init__(self, encoder: PairEncoder, head: "torch.nn.Linear", rows: _Rows):
        import torch

        self.encoder = encoder
        self.head = head
        self.rows = rows
        self.offset = torch.tensor(rows.offset, dtype=torch.float32)
        self.truth = torch.tensor(rows.truth, dtype=torch.float32)
        self.balance = torch.tensor(float((~rows.truth).sum() / rows.truth.sum()))

    def to(self, device: "torch.device") -> None:
        """Go to a device, all of it."""
        self.encoder.model.to(device)
        self.head.to(device)
        self.offset, self.truth = self.offset.to(device), self.truth.to(device)
        self.balance = self.balance.to(device)

    @property
    def model(self) -> Any:  # noqa: ANN401
        """The encoder with its adapter."""
        return self.encoder.model

    def groups(self) -> list[Group]:
        """The adapter, and the head with a rate of its own."""
        adapter = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        head = {f"head.{name}": p for name, p in self.head.named_parameters()}
        return [
            Group(adapter, LEARNING_RATE),
            Group(head, HEAD_LEARNING_RATE, WEIGHT_DECAY, is_clipped=False),
        ]

    def parts(self, batch: Batch) -> list[Batch]:
        """The batch: its pairs are short."""
        return [batch]

    def loss(self, part: Batch) -> "torch.Tensor":
        """Mean log loss, errors weighted to count as much as the rest."""
        import torch

        rows = list(part)
        said = self.head(self.encoder.pooled([self.rows.tokens[i] for i in rows]))[:, 0]
        return torch.nn.functional.binary_cross_entropy_with_logits(
            said + self.offset[rows], self.truth[rows], pos_weight=self.balance
        )

    def look(self) -> float:
        """The loss of the validation rows."""
        return self.rows.check_loss(self.say())

    def say(self) -> Floats:
        """What is added to the frozen logits of the validation rows, shape (n,)."""
        return _say(self.encoder, self.head, [self.rows.tokens[i] for i in self.rows.check_on])


def _say(encoder: PairEncoder, head: "torch.nn.Linear", tokens: Sequence[Sequence[int]]) -> Floats:
    import torch

    encoder.model.eval()
    said = np.zeros(len(tokens))
    with torch.inference_mode():
        for rows in by_length(tokens, 64):
            said[rows] = (
                head(encoder.pooled([tokens[i] for i in rows]))[:, 0].double().cpu().numpy()
            )
    return said


def _fresh_encoder(embedder: Embedder, rank: int) -> PairEncoder:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules="all-linear")
    with quiet_peft():
        return PairEncoder(embedder, get_peft_model(base_model(embedder), config))

"""The arms dpo and kto: an adapter that prefers corrections to failures, by TRL's trainers.

Pairs, or rows that are good or not, in; the same folder and report as of the other arms out. The
one idea is that TRL is given our tokens, and never a trace's text. It has no learning rates tried
and no checkpoints, which it would pickle: a training that is killed begins anew.

Sources: Rafailov et al. (2305.18290), Ethayarajh et al. (2402.01306).
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from flywheel.errors import BadInput, NotEnough
from flywheel.models.adapters import quiet_peft
from flywheel.models.chat_layout import ChatLayout
from flywheel.settings import TrainingSettings
from flywheel.training.causal.base import Base
from flywheel.training.causal.beginning import rank_of
from flywheel.training.causal.learner import CausalLearner
from flywheel.training.causal.report import CausalFit
from flywheel.training.causal.rows import TOO_LONG, Row, Rows, row_of
from flywheel.training.causal.sizes import memory_for, numbers_a_rank
from flywheel.training.checkpoints import Look
from flywheel.training.examples.arms import ArmRows
from flywheel.training.layers import lora_config, shares_of

# Ten times TRL's own for all of a model's weights, which is the rule for adapters (methods).
RATE = 1e-5
# Pairs, or rows, a step.
BATCH = 8
_IGNORED = 0


@dataclass(frozen=True, slots=True)
class Preferred:
    """A row, and for dpo the one that it is preferred to; of kto's, `is_good` says which it is."""

    row: Row
    rejected: Row | None = None
    is_good: bool = True


def require_trl() -> None:
    """Raise BadInput where the extra is not installed."""
    import importlib.util

    if not all(importlib.util.find_spec(name) for name in ("trl", "datasets")):
        raise BadInput(
            "the arms dpo and kto are trained by TRL, which is not installed; "
            "run `pip install 'flywheel-loop[preferences]'`, or take the arm nat"
        )


def fit_preferences(
    opened: Base, rows: ArmRows, checks: Sequence[Row], settings: TrainingSettings
) -> tuple[Any, CausalFit]:
    """The trained model, with its adapter, and the report; `checks` are good validation rows."""
    began = time.process_time()
    given, left = _preferred(rows, opened.layout, opened.longest(settings.max_tokens))
    if not given:
        raise NotEnough(f"rows to train on by {rows.arm} that are short enough", 0, 1)
    good = Rows(tuple(each.row for each in given if each.is_good))
    base_loss = CausalLearner(opened.model, opened.place, (), checks, 0.0).look()
    rank, bits = rank_of(opened, settings, base_loss, good.n_learnt)
    model, steps = _trained(opened, rows.arm, given, rank, settings)
    loss = CausalLearner(model, opened.place, (), checks, 0.0).look()
    both = [row for each in given for row in (each.row, each.rejected) if row is not None]
    batch = sorted(both, key=lambda row: -row.n_tokens)[: 2 * BATCH]
    report = CausalFit(
        arm=rows.arm,
        base=opened.name,
        base_hash=opened.weights_hash,
        rank=rank,
        rank_by="setting" if settings.rank else "size of the data",
        bits=round(bits),
        rate=RATE,
        tried=(),
        n_examples=len(both),
        n_validation=len(checks),
        left_out={**rows.left_out, **left},
        n_tokens=sum(row.n_tokens for row in both),
        n_learnt=sum(row.n_learnt for row in both),
        base_loss=base_loss,
        loss=loss,
        looks=(Look(0, base_loss), Look(steps, loss)),
        steps=steps,
        steps_planned=steps,
        best_step=steps,
        ending="done",
        shares=shares_of(model),
        memory=memory_for(
            opened.n_bytes, numbers_a_rank(opened.layers), rank, [batch], opened.n_words
        ),
        place=opened.place.words,
        seed=settings.seed,
        cpu_s=time.process_time() - began,
    )
    return model, report


def _preferred(
    rows: ArmRows, layout: ChatLayout, max_tokens: int
) -> tuple[list[Preferred], dict[str, int]]:
    """The rows as tokens, without those of which a side is too long."""
    if rows.arm == "dpo":
        found = [
            Preferred(row_of(pair.chosen, layout), row_of(pair.rejected, layout))
            for pair in rows.pairs
        ]
    else:
        found = [Preferred(row_of(e, layout), is_good=e.is_good) for e in rows.rows]
    kept = [
        each
        for each in found
        if max(each.row.n_tokens, each.rejected.n_tokens if each.rejected else 0) <= max_tokens
    ]
    n_left = len(found) - len(kept)
    return kept, {TOO_LONG: n_left} if n_left else {}


def _trained(
    opened: Base, arm: str, given: Sequence[Preferred], rank: int, settings: TrainingSettings
) -> tuple[Any, int]:
    """The model that TRL's trainer leaves, and its steps; it has our tokens from `_Collator`."""
    import datasets
    import torch
    from transformers import PrinterCallback

    datasets.disable_progress_bars()
    torch.manual_seed(settings.seed)
    # KTO compares neighbours, in the order in which they are given.
    order = np.random.default_rng(settings.seed).permutation(len(given))
    shuffled = [given[i] for i in order]
    trainer_of, config_of = _classes(arm)
    weights = _weights(shuffled) if arm == "kto" else {}
    with TemporaryDirectory() as folder, quiet_peft():
        # Older versions of transformers know no other name for it.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*")
        args = config_of(
            **weights,
            output_dir=folder,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=opened.place.device.type == "cpu",
            bf16=opened.place.is_half,
            gradient_checkpointing=False,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            max_length=None,
            per_device_train_batch_size=BATCH,
            num_train_epochs=settings.epochs,
            learning_rate=RATE,
            warmup_steps=0.1,
            seed=settings.seed,
        )
        trainer = trainer_of(
            model=opened.model,
            args=args,
            train_dataset=datasets.Dataset.from_list(_numbered(arm, shuffled)),
            processing_class=opened.tokenizer,
            data_collator=_Collator(shuffled),
            peft_config=lora_config(rank),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return trainer.model.eval(), int(trainer.state.global_step)


def _classes(arm: str) -> tuple[Any, Any]:
    if arm == "dpo":
        from trl import DPOConfig, DPOTrainer

        return DPOTrainer, DPOConfig
    from trl import KTOConfig, KTOTrainer

    return KTOTrainer, KTOConfig


def _numbered(arm: str, given: Sequence[Preferred]) -> list[dict[str, object]]:
    """What TRL wants to see of each row; it makes tokens of these letters, which nobody reads."""
    if arm == "dpo":
        letters = {"prompt": "q", "chosen": "a", "rejected": "b"}
        return [{"row": i, **letters} for i in range(len(given))]
    return [
        {"row": i, "prompt": "q", "completion": "a", "label": each.is_good}
        for i, each in enumerate(given)
    ]


def _weights(given: Sequence[Preferred]) -> dict[str, float]:
    """Good and bad rows count alike, however many there are of each (2402.01306, section 4.2)."""
    good = sum(each.is_good for each in given)
    bad = len(given) - good
    if not good or not bad:
        raise NotEnough("examples of each kind, good and bad, for the arm kto", 0, 1)
    return {
        "desirable_weight": max(1.0, bad / good),
        "undesirable_weight": max(1.0, good / bad),
    }


class _Collator:
    """A batch of our tokens, for the numbers of rows; behind their ends padded with anything."""

    def __init__(self, given: Sequence[Preferred]):
        self._given = given

    def __call__(self, numbered: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """In the form of TRL's own collators of tokens."""
        import torch

        given = [self._given[each["row"]] for each in numbered]
        rejected = [each.rejected for each in given if each.rejected is not None]
        if rejected:
            return _padded([*(each.row for each in given), *rejected])
        rows = [each.row for each in given]
        # What another was answered: how far the model has moved at all is measured with it.
        others = [
            _joined(row, other) for row, other in zip(rows, rows[-1:] + rows[:-1], strict=True)
        ]
        found = _padded(rows) | {f"KL_{name}": t for name, t in _padded(others).items()}
        return found | {"label": torch.tensor([each.is_good for each in given])}


def _joined(row: Row, other: Row) -> Row:
    """The context of a row with the answer of another."""
    context, answer = int(row.places[0]), int(other.places[0])
    ids = np.concatenate([row.ids[:context], other.ids[answer:]])
    return Row(ids, other.places - answer + context)


def _padded(rows: Sequence[Row]) -> dict[str, Any]:
    import torch

    shape = len(rows), max(row.n_tokens for row in rows)
    ids, exists, learnt = (np.full(shape, _IGNORED, np.int64) for _ in range(3))
    for i, row in enumerate(rows):
        ids[i, : row.n_tokens] = row.ids
        exists[i, : row.n_tokens] = 1
        learnt[i, row.places] = 1
    named = {"input_ids": ids, "attention_mask": exists, "completion_mask": learnt}
    return {name: torch.from_numpy(array) for name, array in named.items()}

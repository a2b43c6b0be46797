"""Tier 3: the frozen tier, corrected by an encoder with a LoRA adapter that reads turns together.

Reactions in, logits out. The adapter learns what the frozen tier gets wrong: it sees the answer and
the user's turn as one pair, and adds its say to the frozen logit. It starts at nothing, so a fit on
few labels can leave it there.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from flywheel.judge.encoder import FrozenModel, views_of
from flywheel.judge.features import raw_features
from flywheel.judge.judge import array_fingerprint
from flywheel.judge.prototypes import PrototypeCoder
from flywheel.judge.reactions import Floats, Pooling, Reaction
from flywheel.models.embedder import Embedder
from flywheel.records import Tier
from flywheel.safety import encodable

if TYPE_CHECKING:
    import torch

# Tokens of a pair; of a longer one the longer turn is cut.
MAX_TOKENS = 192
_BATCH = 64


class PairEncoder:
    """The embedder's transformer, with an adapter, over (answer, user's turn) pairs."""

    def __init__(self, embedder: Embedder, model: Any):  # noqa: ANN401  # a PeftModel, untyped
        from transformers import AutoTokenizer

        self.model = model
        self._tokenizer = AutoTokenizer.from_pretrained(str(embedder.folder))

    def tokens(self, reactions: Sequence[Reaction]) -> list[list[int]]:
        """Token ids of each pair."""
        pairs = self._tokenizer(
            [encodable(r.answer) for r in reactions],
            [encodable(r.text) for r in reactions],
            truncation="longest_first",
            max_length=MAX_TOKENS,
        )
        return list(pairs["input_ids"])

    def pooled(self, tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """Mean of the last layer over each pair's tokens: shape (n, dim), with gradients."""
        import torch

        width = max(len(row) for row in tokens)
        ids = torch.full((len(tokens), width), self._tokenizer.pad_token_id or 0)
        mask = torch.zeros((len(tokens), width), dtype=torch.long)
        for i, row in enumerate(tokens):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        device = next(self.model.parameters()).device
        mask = mask.to(device)
        hidden = self.model(input_ids=ids.to(device), attention_mask=mask).last_hidden_state
        weight = mask[..., None].to(hidden.dtype)
        mean: torch.Tensor = (hidden * weight).sum(1) / weight.sum(1)
        return mean

    def vectors(self, reactions: Sequence[Reaction]) -> Floats:
        """`pooled` without gradients, in batches of like length: shape (n, dim)."""
        import torch

        tokens = self.tokens(reactions)
        found: dict[int, Any] = {}
        self.model.eval()
        with torch.inference_mode():
            for rows in by_length(tokens, _BATCH):
                out = self.pooled([tokens[i] for i in rows]).cpu().double().numpy()
                found.update(zip(rows, out, strict=True))
        return np.stack([found[i] for i in range(len(tokens))])


def by_length(tokens: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Rows in batches of like length, so that little is padding."""
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


@dataclass(frozen=True, slots=True)
class LoraModel:
    """The frozen tier and the adapter's say on top of it."""

    frozen: FrozenModel
    encoder: PairEncoder
    coef: Floats
    intercept: float
    version: str
    tier: Tier = field(default="lora", init=False)

    @property
    def pooling(self) -> Pooling:
        """As the frozen tier's."""
        return self.frozen.pooling

    def read(self, reactions: Sequence[Reaction]) -> tuple[Floats, Floats]:
        """Logits of shape (n,) and code scores of shape (n, 8)."""
        views = views_of(self.frozen.embedder, reactions)
        codes = PrototypeCoder(self.frozen.embedder).code_scores(views[:, 0], views[:, 2])
        logits = self.frozen.logits(views, raw_features(reactions))
        return logits + self.encoder.vectors(reactions) @ self.coef + self.intercept, codes


def lora_model(
    frozen: FrozenModel, encoder: PairEncoder, coef: Floats, intercept: float
) -> LoraModel:
    """A LoRA tier under the version that its adapter, its head and its frozen tier give it."""
    weights = [
        tensor.detach().cpu().numpy()
        for name, tensor in encoder.model.named_parameters()
        if "lora_" in name
    ]
    version = array_fingerprint([*weights, coef, np.array([intercept])], frozen.version)
    return LoraModel(frozen, encoder, coef, intercept, f"lora-{version}")


def attach_adapter(embedder: Embedder, folder: str) -> PairEncoder:
    """The pair encoder with the adapter of a PEFT folder, ready to read."""
    from peft import PeftModel

    with quiet_peft():
        return PairEncoder(embedder, PeftModel.from_pretrained(base_model(embedder), folder))


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep one warning back: peft asks transformers by a name that transformers will drop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        yield


def base_model(embedder: Embedder) -> Any:  # noqa: ANN401  # a transformers model, untyped
    """A fresh copy of the embedder's transformer, in float32."""
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(embedder.threads)
    return AutoModel.from_pretrained(str(embedder.folder), dtype=torch.float32)

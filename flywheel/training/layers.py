"""Which layers of a model an adapter trains, and how much of each kind.

A model with an adapter in, numbers by kind of layer out; where no MLP layer is trained, a refusal
with the list of those that are. Source: Schulman et al., "LoRA Without Regret" (2025): adapters on
attention alone fall behind, whatever their rank.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from flywheel.errors import NeverWill

# Of every adapter; the best learning rate then hardly depends on the rank (same source).
ALPHA = 32

LayerKind = Literal["attention", "mlp", "other"]

_ATTENTION = re.compile(r"attention|attn")
# A router chooses among experts and is none; poolers and word lists are neither.
_NEITHER = re.compile(r"pooler|lm_head|embed|norm|router|mlp\.gate\b")
_MLP = re.compile(
    r"mlp|ffn|ffw|feed_forward|expert|intermediate|output\.dense|\bfc\d?\b|\blin\d\b|dense_|wi|wo\b"
)


@dataclass(frozen=True, slots=True)
class Share:
    """How many numbers of a kind of layer are trained, and how many the base has."""

    trained: int
    of_base: int

    @property
    def share(self) -> float:
        """The first over the second."""
        return self.trained / self.of_base if self.of_base else 0.0


def kind_of(name: str) -> LayerKind:
    """The kind of layer that a parameter of this name belongs to."""
    if _NEITHER.search(name):
        return "other"
    if _ATTENTION.search(name):
        return "attention"
    return "mlp" if _MLP.search(name) else "other"


def shares_of(model: Any) -> dict[LayerKind, Share]:  # noqa: ANN401
    """The trainable share of each kind of layer of a model with an adapter.

    Raises NeverWill where no MLP layer is trained.
    """
    trained: dict[LayerKind, int] = {"attention": 0, "mlp": 0, "other": 0}
    of_base = dict(trained)
    layers = []
    for name, parameter in model.named_parameters():
        kind = kind_of(name)
        if parameter.requires_grad:
            trained[kind] += parameter.numel()
            layers.append(name.split(".lora_")[0])
        elif ".lora_" not in name:
            of_base[kind] += parameter.numel()
    if trained["mlp"] == 0:
        listed = ", ".join(sorted({_short(name) for name in layers})) or "nothing"
        raise NeverWill(
            f"no MLP layer would be trained, only {listed}; take a base whose MLP layers are linear"
        )
    return {kind: Share(trained[kind], of_base[kind]) for kind in trained}


def trainable_numbers(model: Any) -> dict[str, int]:  # noqa: ANN401
    """How many numbers are trained of attention and of MLP layers; raises as `shares_of`."""
    shares = shares_of(model)
    return {kind: shares[kind].trained for kind in ("attention", "mlp")}


def _short(name: str) -> str:
    """A layer's name without the model's, and without its number."""
    return ".".join(part for part in name.split(".")[-2:] if not part.isdigit())


def lora_config(rank: int) -> Any:  # noqa: ANN401  # peft has no types
    """Of a causal model: an adapter on every linear layer but the last."""
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=ALPHA,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def targeted(model: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """The layers that `all-linear` puts an adapter on: linear ones, but not the last."""
    import torch
    from transformers.pytorch_utils import Conv1D

    last = model.get_output_embeddings()
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear | Conv1D) and layer is not last:
            yield name, layer

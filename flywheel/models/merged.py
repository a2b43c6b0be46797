"""Adapters merged into one copy of their base, whichever is asked for: many judges cost one base.

Adapters as pairs of small matrices in, a model with one of them in its weights out. The one idea is
that a merge is never undone: the next is made of the base's own weights, which are kept, so that an
adapter gives the same bits however many others were there meanwhile.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from flywheel.errors import BadArtifact
from flywheel.models.adapters import CONFIG_FILE, check_adapter

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "adapter_model.safetensors"
# How peft names a layer's two matrices.
_OUTSIDE, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
# What changes more than a sum in a linear layer, and its value where it does not.
_PLAIN: Mapping[str, object] = {
    "bias": "none",
    "use_dora": False,
    "lora_bias": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
}


@dataclass(frozen=True, slots=True, eq=False)
class PlainLora:
    """A LoRA adapter by itself: `config` as peft writes it, and the matrices of each layer.

    A layer's weight grows by `scaling * up @ down`, of shapes (out, rank) and (rank, in), float32;
    `matrices` has (down, up) by the layer's path, in the order in which the base has the layers.
    """

    config: str
    scaling: float
    matrices: Mapping[str, tuple["torch.Tensor", "torch.Tensor"]]

    def save(self, folder: Path) -> None:
        """Write the two files that peft loads."""
        from safetensors.torch import save_file

        named: dict[str, torch.Tensor] = {}
        for path, (down, up) in self.matrices.items():
            named[f"{_OUTSIDE}{path}{_DOWN}"] = down.detach().contiguous()
            named[f"{_OUTSIDE}{path}{_UP}"] = up.detach().contiguous()
        save_file(named, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        (folder / CONFIG_FILE).write_text(self.config, encoding="utf-8")


def read_plain_lora(folder: Path, paths: Sequence[str]) -> PlainLora:
    """The adapter of a PEFT folder; `paths` are the linear layers of its base, in their order.

    Raises BadArtifact where the folder holds none, or one that does more than add to their weights.
    """
    from safetensors.torch import load_file

    check_adapter(folder)
    text = (folder / CONFIG_FILE).read_text(encoding="utf-8")
    config = json.loads(text)
    changed = [name for name, plain in _PLAIN.items() if (config.get(name) or plain) != plain]
    if changed:
        raise BadArtifact(f"the adapter in {folder} is no plain LoRA: it sets {', '.join(changed)}")
    try:
        found = load_file(folder / WEIGHTS_FILE)
        rank = int(config["r"])
        scaling = float(config["lora_alpha"]) / (rank**0.5 if config.get("use_rslora") else rank)
        matrices = {
            path: (
                found.pop(f"{_OUTSIDE}{path}{_DOWN}").float(),
                found.pop(f"{_OUTSIDE}{path}{_UP}").float(),
            )
            for path in paths
            if f"{_OUTSIDE}{path}{_DOWN}" in found
        }
    except (OSError, ValueError, TypeError, LookupError, SafetensorError) as error:
        raise BadArtifact(f"the adapter in {folder} is damaged: {error}") from error
    if found:
        raise BadArtifact(f"the adapter in {folder} is of another base: {next(iter(found))}")
    return PlainLora(text, scaling, matrices)


def plain_lora_of(model: Any) -> PlainLora:  # noqa: ANN401  # a PeftModel, untyped
    """The adapter of a model that is being trained, as it is now; its matrices are the model's."""
    from peft.tuners.lora import LoraLayer

    name = model.active_adapter
    config = model.peft_config[name].to_dict()
    layers = {
        path: layer
        for path, layer in model.base_model.model.named_modules()
        if isinstance(layer, LoraLayer)
    }
    matrices = {
        path: (layer.lora_A[name].weight.detach(), layer.lora_B[name].weight.detach())
        for path, layer in layers.items()
    }
    scaling = next((float(layer.scaling[name]) for layer in layers.values()), 0.0)
    return PlainLora(json.dumps(config, default=sorted, sort_keys=True), scaling, matrices)


class MergedCopy:
    """One copy of a model, into which the adapter that was asked for last is merged.

    `model` is the base in float32, and the copy from now on. The weights of its linear layers are
    kept beside it, 42 MB of MiniLM's 90.
    """

    def __init__(self, model: Any, is_bfloat16: bool = False):  # noqa: ANN401
        import torch

        self._kept = {
            path: layer.weight.detach().clone()
            for path, layer in model.named_modules()
            if isinstance(layer, torch.nn.Linear)
        }
        self._model = model.eval().requires_grad_(False)
        # Summed in float32, and only then rounded.
        if is_bfloat16:
            self._model = self._model.bfloat16()
        self._merged: PlainLora | None = None
        self._lock = RLock()

    @property
    def paths(self) -> list[str]:
        """The linear layers, in the order of the model."""
        return list(self._kept)

    @contextmanager
    def holding(self, adapter: PlainLora) -> Iterator[Any]:
        """The model with this adapter in its weights, for nobody else meanwhile; 20 ms to switch.

        Raises BadArtifact where the adapter is of another model.
        """
        with self._lock:
            if adapter is not self._merged:
                self._merge(adapter)
            yield self._model

    def _merge(self, adapter: PlainLora) -> None:
        import torch

        before = self._merged.matrices if self._merged else {}
        # What is begun may fail halfway.
        self._merged = None
        try:
            with torch.inference_mode():
                for path in before.keys() - adapter.matrices.keys():
                    self._model.get_submodule(path).weight.copy_(self._kept[path])
                for path, (down, up) in adapter.matrices.items():
                    whole = (up @ down).mul_(adapter.scaling).add_(self._kept[path])
                    self._model.get_submodule(path).weight.copy_(whole)
        except (KeyError, RuntimeError) as error:
            self._restore()
            raise BadArtifact(f"an adapter does not fit its base: {error}") from error
        self._merged = adapter

    def _restore(self) -> None:
        import torch

        with torch.inference_mode():
            for path, weight in self._kept.items():
                self._model.get_submodule(path).weight.copy_(weight)

"""The base of a causal training: loaded, frozen, measured, and given a fresh adapter.

A model's name in; the model on its device, with all that sizes and layouts need of it, out.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flywheel.errors import BadArtifact
from flywheel.models.adapters import quiet_peft
from flywheel.models.causal_host import causal_folder
from flywheel.models.chat_layout import ChatLayout
from flywheel.models.engine import Precision
from flywheel.models.folders import weights_hash
from flywheel.training.layers import lora_config, targeted
from flywheel.training.placement import Placement, placement_here


@dataclass(frozen=True)
class Base:
    """A base as it is trained on; `layers` are those that an adapter is put on."""

    name: str
    folder: Path
    tokenizer: Any
    model: Any
    layers: tuple[Any, ...]
    place: Placement

    @cached_property
    def layout(self) -> ChatLayout:
        """How conversations become its tokens."""
        return ChatLayout(self.tokenizer)

    @property
    def weights_hash(self) -> str:
        """Names its weights."""
        return weights_hash(self.folder)

    @property
    def n_words(self) -> int:
        """How many tokens it knows."""
        return int(self.model.config.vocab_size)

    @cached_property
    def n_bytes(self) -> int:
        """Of its weights in memory, before an adapter is put on it."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

    def longest(self, wanted: int) -> int:
        """The tokens of an example, at most: as wanted, or what the model can hold in mind."""
        return min(wanted, int(getattr(self.model.config, "max_position_embeddings", 0) or wanted))


def open_base(name: str, threads: int, precision: Precision) -> Base:
    """Load the base on the device of the training.

    Raises NotFound where nothing carries the name, BadArtifact where it is no causal model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    folder = causal_folder(name)
    torch.set_num_threads(threads)
    place = placement_here(precision)
    logging.disable_progress_bar()
    known = {"trust_remote_code": False, "local_files_only": True}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=torch.float32, use_safetensors=True, **known
        ).to(place.device)
    except (OSError, ValueError, KeyError) as error:
        raise BadArtifact(f"{folder} holds no causal model: {error}") from error
    tokenizer = AutoTokenizer.from_pretrained(str(folder), **known)
    layers = tuple(layer for _, layer in targeted(model))
    for layer in layers:
        place.round_frozen(layer)
    opened = Base(name, folder, tokenizer, model, layers, place)
    # Counted while there is no adapter.
    _ = opened.n_bytes
    return opened


def add_adapter(opened: Base, rank: int, seed: int) -> Any:  # noqa: ANN401
    """The model with a fresh adapter on every linear layer but the last."""
    import torch
    from peft import get_peft_model

    torch.manual_seed(seed)
    with quiet_peft():
        return get_peft_model(opened.model, lora_config(rank))

